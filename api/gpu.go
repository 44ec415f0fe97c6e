package api

import "encoding/json"

// GPUTypes is a list of models of graphics card. The wire also takes a single one that is not in a list.
type GPUTypes []GPUType

// UnmarshalJSON reads a list or a single value.
func (g *GPUTypes) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '"' {
		var one GPUType
		if err := json.Unmarshal(b, &one); err != nil {
			return err
		}
		*g = GPUTypes{one}
		return nil
	}
	return json.Unmarshal(b, (*[]GPUType)(g))
}
