//go:build linux

package lsp

import (
	"encoding/json"
	"strings"
)

// clientCapabilities is what the server is told that this client can do: what the wire needs, and no edits, so that no
// server waits for somebody to look at it.
var clientCapabilities = json.RawMessage(`{
"general":{"positionEncodings":["utf-16"]},
"window":{"workDoneProgress":true},
"workspace":{"applyEdit":false,"configuration":true,"workspaceFolders":true,"symbol":{"dynamicRegistration":false},"didChangeConfiguration":{"dynamicRegistration":false}},
"textDocument":{
"synchronization":{"dynamicRegistration":false,"didSave":false},
"completion":{"dynamicRegistration":false,"contextSupport":true,"completionItem":{"snippetSupport":false,"documentationFormat":["markdown","plaintext"],"deprecatedSupport":false}},
"documentSymbol":{"dynamicRegistration":false,"hierarchicalDocumentSymbolSupport":true},
"publishDiagnostics":{"relatedInformation":false}}}`)

func folders(dir string) []map[string]string {
	return []map[string]string{{"uri": uriOf(dir), "name": dir[strings.LastIndexByte(dir, '/')+1:]}}
}

// answer is what a server gets for its own requests. It must not block.
func answer(l language, dir, method string, params json.RawMessage) (any, *rpcError) {
	switch method {
	case "workspace/configuration":
		var in struct {
			Items []struct {
				Section string `json:"section"`
			} `json:"items"`
		}
		if json.Unmarshal(params, &in) != nil || len(in.Items) > 1000 {
			return nil, &rpcError{codeInvalidParams, "items must be at most 1000 sections"}
		}
		out := make([]json.RawMessage, len(in.Items))
		for i, item := range in.Items {
			out[i] = section(l.Settings, item.Section)
		}
		return out, nil
	case "workspace/workspaceFolders":
		return folders(dir), nil
	case "workspace/applyEdit":
		return map[string]any{"applied": false, "failureReason": "this client takes no edits"}, nil
	case "window/showDocument":
		return map[string]any{"success": false}, nil
	case "window/workDoneProgress/create", "client/registerCapability", "client/unregisterCapability", "window/showMessageRequest",
		"workspace/semanticTokens/refresh", "workspace/inlayHint/refresh", "workspace/inlineValue/refresh", "workspace/codeLens/refresh",
		"workspace/diagnostic/refresh", "workspace/foldingRange/refresh":
		return nil, nil
	}
	return nil, &rpcError{codeMethodNotFound, "this client does not know " + clip(method)}
}

// section is the part of settings under a dotted name; null where there is none.
func section(settings json.RawMessage, name string) json.RawMessage {
	null := json.RawMessage("null")
	if len(settings) == 0 || len(name) > 1000 {
		return null
	}
	at := settings
	if name != "" {
		for key := range strings.SplitSeq(name, ".") {
			var object map[string]json.RawMessage
			if json.Unmarshal(at, &object) != nil || object[key] == nil {
				return null
			}
			at = object[key]
		}
	}
	return at
}
