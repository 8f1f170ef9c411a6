// Renders a chart with the template engine and the functions that Helm is made of, without building Helm:
// go run . CHART VALUES prints its manifests. What the chart does not use (subcharts, lookup, tpl, hooks) is not here.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"text/template"

	"github.com/Masterminds/sprig/v3"
	"sigs.k8s.io/yaml"
)

func main() {
	if err := render(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func render(chart, given string) error {
	values, err := read(filepath.Join(chart, "values.yaml"))
	if err != nil {
		return err
	}
	own, err := read(given)
	if err != nil {
		return err
	}
	about, err := read(filepath.Join(chart, "Chart.yaml"))
	if err != nil {
		return err
	}
	// In templates the fields of a chart begin with a capital letter.
	titled := map[string]any{}
	for name, value := range about {
		titled[strings.ToUpper(name[:1])+name[1:]] = value
	}
	all := template.New("chart").Option("missingkey=zero")
	all.Funcs(sprig.TxtFuncMap()).Funcs(template.FuncMap{
		"include": func(name string, data any) (string, error) {
			var text strings.Builder
			err := all.ExecuteTemplate(&text, name, data)
			return text.String(), err
		},
		"required": func(message string, value any) (any, error) {
			if value == nil || value == "" {
				return nil, fmt.Errorf("%s", message)
			}
			return value, nil
		},
		"toYaml": func(value any) (string, error) {
			text, err := yaml.Marshal(value)
			return strings.TrimSuffix(string(text), "\n"), err
		},
	})
	if _, err := all.ParseGlob(filepath.Join(chart, "templates", "*")); err != nil {
		return err
	}
	data := map[string]any{
		"Chart":   titled,
		"Values":  merge(values, own),
		"Release": map[string]any{"Name": "test", "Namespace": "default", "Service": "Helm"},
	}
	files, err := filepath.Glob(filepath.Join(chart, "templates", "*.yaml"))
	if err != nil {
		return err
	}
	for _, file := range files {
		var text strings.Builder
		if err := all.ExecuteTemplate(&text, filepath.Base(file), data); err != nil {
			return err
		}
		if strings.TrimSpace(text.String()) != "" {
			fmt.Printf("---\n%s\n", text.String())
		}
	}
	return nil
}

func read(file string) (map[string]any, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	values := map[string]any{}
	return values, yaml.Unmarshal(text, &values)
}

// Maps are merged, anything else is replaced, as Helm does with values.
func merge(base, over map[string]any) map[string]any {
	for name, value := range over {
		inner, isMap := value.(map[string]any)
		below, wasMap := base[name].(map[string]any)
		if isMap && wasMap {
			base[name] = merge(below, inner)
		} else {
			base[name] = value
		}
	}
	return base
}
