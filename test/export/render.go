// Renders a conversation through a template as Ollama does (template.Execute, for templates that
// read .Messages): stdin is {"template", "messages": [{"role", "content"}]}.
package main

import (
	"encoding/json"
	"os"
	"strings"
	"text/template"
)

type message struct{ Role, Content string }

func main() {
	var in struct {
		Template string
		Messages []*message
	}
	if err := json.NewDecoder(os.Stdin).Decode(&in); err != nil {
		panic(err)
	}
	var system []string
	for _, m := range in.Messages {
		if m.Role == "system" {
			system = append(system, m.Content)
		}
	}
	parsed := template.Must(template.New("").Option("missingkey=zero").Parse(in.Template))
	values := map[string]any{"System": strings.Join(system, "\n\n"), "Messages": in.Messages, "Response": ""}
	if err := parsed.Execute(os.Stdout, values); err != nil {
		panic(err)
	}
}
