//go:build linux

package lsp

import (
	"encoding/json"

	"github.com/dugout-dev/dugout/api/toolbox"
)

// symbol is either form in which servers tell symbols: with its location, or with its range and what is inside it.
type symbol struct {
	Name     string               `json:"name"`
	Kind     int                  `json:"kind"`
	Location *toolbox.LSPLocation `json:"location"`
	Range    toolbox.LSPRange     `json:"range"`
	Children []symbol             `json:"children"`
}

// symbols reads a server's list of symbols of either form. Those with children come before them, in one flat list. uri is
// the document of symbols that do not tell theirs.
func symbols(raw json.RawMessage, uri string) ([]toolbox.LSPSymbol, error) {
	var in []symbol
	if err := json.Unmarshal(raw, &in); err != nil && len(raw) > 0 {
		return nil, errFrame
	}
	out := []toolbox.LSPSymbol{}
	var add func(list []symbol)
	add = func(list []symbol) {
		for _, s := range list {
			at := toolbox.LSPLocation{URI: uri, Range: s.Range}
			if s.Location != nil {
				at = *s.Location
			}
			out = append(out, toolbox.LSPSymbol{Kind: s.Kind, Name: s.Name, Location: at})
			add(s.Children)
		}
	}
	add(in)
	return out, nil
}

// completions reads a server's completions: a list, or an object with one.
func completions(raw json.RawMessage) (toolbox.LSPCompletionList, error) {
	type item struct {
		toolbox.LSPCompletionItem
		TextEdit *struct {
			NewText string `json:"newText"`
		} `json:"textEdit"`
	}
	var in struct {
		IsIncomplete bool   `json:"isIncomplete"`
		Items        []item `json:"items"`
	}
	into := any(&in)
	if len(raw) > 0 && raw[0] == '[' {
		into = &in.Items
	}
	if err := json.Unmarshal(raw, into); err != nil && len(raw) > 0 {
		return toolbox.LSPCompletionList{}, errFrame
	}
	out := toolbox.LSPCompletionList{IsIncomplete: in.IsIncomplete, Items: make([]toolbox.LSPCompletionItem, len(in.Items))}
	for i, it := range in.Items {
		o := it.LSPCompletionItem
		if o.InsertText == nil && it.TextEdit != nil {
			o.InsertText = &it.TextEdit.NewText
		}
		o.Documentation = documentation(o.Documentation)
		out.Items[i] = o
	}
	return out, nil
}

// documentation makes an object of it: clients of the 0.x wire that are older than 0.200 take nothing else.
func documentation(raw json.RawMessage) json.RawMessage {
	var text string
	if len(raw) > 0 && raw[0] == '{' {
		return raw
	}
	if json.Unmarshal(raw, &text) != nil || text == "" {
		return nil
	}
	b, err := json.Marshal(map[string]string{"kind": "plaintext", "value": text})
	if err != nil {
		return nil
	}
	return b
}
