package toolbox

// PortList answers GET /port.
type PortList struct {
	Ports []int `json:"ports" doc:"TCP ports on which something in the sandbox listens, on IPv4 or IPv6, in ascending order."`
}

// PortInUse answers GET /port/{port}/in-use.
type PortInUse struct {
	IsInUse bool `json:"isInUse" doc:"Something in the sandbox listens on the port."`
}
