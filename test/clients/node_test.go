package clients

import "testing"

func node(file string) program {
	return program{name: "node", args: []string{file}, hint: "npm ci in test/clients/node (make deps does so)"}
}

func TestNode(t *testing.T) {
	start(t).compare(node("node/client.js"))
}

func TestNodeORMs(t *testing.T) {
	start(t).compare(node("node/orms.js"))
}
