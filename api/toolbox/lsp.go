package toolbox

import "encoding/json"

// LSPServer is the body of POST /lsp/start and /lsp/stop: it names one language server.
type LSPServer struct {
	LanguageID    string `json:"languageId" doc:"Language: python, typescript, javascript, go, rust, …"`
	PathToProject string `json:"pathToProject" doc:"Root of the project; a relative one starts at the working directory."`
}

// LSPDocument is the body of POST /lsp/did-open and /lsp/did-close.
type LSPDocument struct {
	LanguageID    string `json:"languageId" doc:"Language of the server."`
	PathToProject string `json:"pathToProject" doc:"Root of the server's project."`
	URI           string `json:"uri" doc:"file:// and the path of the document. A relative path starts at the project, or else at the working directory."`
}

// LSPCompletionParams is the body of POST /lsp/completions.
type LSPCompletionParams struct {
	LanguageID    string                `json:"languageId" doc:"Language of the server."`
	PathToProject string                `json:"pathToProject" doc:"Root of the server's project."`
	URI           string                `json:"uri" doc:"file:// and the path of the document."`
	Position      LSPCompletionPosition `json:"position" doc:"Where something is to be completed."`
	Context       *LSPCompletionContext `json:"context,omitempty" doc:"What made the client ask; absent: the user did."`
}

// LSPCompletionPosition is a position that must be told whole; 0 is a value like any other.
type LSPCompletionPosition struct {
	Line      *int `json:"line" required:"true" doc:"Line, from 0."`
	Character *int `json:"character" required:"true" doc:"UTF-16 code units from the beginning of the line, from 0."`
}

// LSPCompletionContext says what made the client ask for completions.
type LSPCompletionContext struct {
	TriggerKind      int     `json:"triggerKind" doc:"1: the user asked, 2: a character was typed, 3: an incomplete list is asked again."`
	TriggerCharacter *string `json:"triggerCharacter,omitempty" doc:"The character that was typed."`
}

// LSPCompletionList answers POST /lsp/completions.
type LSPCompletionList struct {
	IsIncomplete bool                `json:"isIncomplete" doc:"Typing more may bring other items."`
	Items        []LSPCompletionItem `json:"items" doc:"What could stand at the position, as the server orders it."`
}

// LSPCompletionItem is one possible completion.
type LSPCompletionItem struct {
	Label         string          `json:"label" doc:"What to show."`
	Kind          *int            `json:"kind,omitempty" doc:"CompletionItemKind of the Language Server Protocol: 3 function, 6 variable, 7 class, …"`
	Detail        *string         `json:"detail,omitempty" doc:"Type or signature."`
	Documentation json.RawMessage `json:"documentation,omitempty" doc:"Text about it: an object with kind (markdown or plaintext) and value."`
	SortText      *string         `json:"sortText,omitempty" doc:"What to sort by, instead of the label."`
	FilterText    *string         `json:"filterText,omitempty" doc:"What to filter by, instead of the label."`
	InsertText    *string         `json:"insertText,omitempty" doc:"What to insert, instead of the label."`
}

// LSPSymbol is one symbol of a document or a project.
type LSPSymbol struct {
	Kind     int         `json:"kind" doc:"SymbolKind of the Language Server Protocol: 5 class, 6 method, 12 function, 13 variable, …"`
	Name     string      `json:"name" doc:"Name of the symbol."`
	Location LSPLocation `json:"location" doc:"Where it is."`
}

// LSPLocation is a part of a document.
type LSPLocation struct {
	URI   string   `json:"uri" doc:"The document."`
	Range LSPRange `json:"range" doc:"The part."`
}

// LSPRange is a part of a text.
type LSPRange struct {
	Start LSPPosition `json:"start" doc:"First position."`
	End   LSPPosition `json:"end" doc:"Position after the last."`
}

// LSPPosition is a position in a text.
type LSPPosition struct {
	Line      int `json:"line" doc:"Line, from 0."`
	Character int `json:"character" doc:"UTF-16 code units from the beginning of the line, from 0."`
}
