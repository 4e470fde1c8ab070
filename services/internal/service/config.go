package service

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/url"
	"os"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/caarlos0/env/v11"
	"golang.org/x/net/http/httpproxy"
)

// Settings are read into structs by these field tags:
//
//	env         name of the variable
//	envDefault  its value when the variable is missing or empty
//	help        one line for --help
//	oneof       the values allowed, separated by commas
//	secret      "true": may be given as NAME_FILE, the name of a file with the value; never shown. A field of the same name with
//	            File at its end gets that name, for those who read it again
//	or          name of the variable that is read when this one is not set
//	envPrefix   on a struct: put before each of its names
//	fallback    "true", beside envPrefix: a struct with none of its variables set reads those without the prefix
//
// Numbers and durations must be above zero; a url.URL must be an absolute http or https URL. A settings struct that has more to
// check has a method Check.

// Problem is a setting that cannot be used.
type Problem struct {
	Name    string // of the variable, without the prefix of the struct it belongs to
	Value   string // as given; left empty for secrets
	Allowed string // what would be right: "must be …"
}

func (p Problem) String() string {
	if p.Value == "" {
		return p.Name + ": " + p.Allowed
	}
	return fmt.Sprintf("%s=%q: %s", p.Name, p.Value, p.Allowed)
}

// Checker is implemented by settings structs (as pointers) whose values must fit each other.
type Checker interface{ Check() []Problem }

// setting is one variable: a field of a settings struct and where its value comes from.
type setting struct {
	name   string        // of the variable, with prefix
	source string        // name of the variable that is read: another one when the struct falls back
	value  reflect.Value // not settable for those that only --help is to list
	file   reflect.Value // the field that gets the name of a secret's file; not valid if there is none
	field  reflect.StructField
}

// Load reads the settings struct that cfg points to from variables of the form NAME=value. Its error lists everything that is
// wrong. Main does this; tests that start a program as a function do it too. The JAEGER_ variables of jaeger-client-go are read
// from the environment of the process.
func Load(cfg any, environ []string) error {
	vars := toMap(environ)
	var problems []string
	told := map[string]bool{}
	note := func(p Problem) { // one for each variable: what else is wrong with it may follow from the first
		if !told[p.Name] {
			problems = append(problems, p.String())
		}
		told[p.Name] = true
	}
	walk(reflect.ValueOf(cfg).Elem(), "", "", vars, func(s setting) {
		if p, ok := s.set(vars); !ok {
			note(p)
		}
	}, func(prefix string, c Checker) {
		for _, p := range c.Check() {
			p.Name = prefix + p.Name
			note(p)
		}
	})
	for _, name := range []string{"HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy"} {
		if !proxy(vars[name]) {
			note(Problem{Name: name, Value: vars[name], Allowed: "must be the URL of a proxy"})
		}
	}
	switch len(problems) {
	case 0:
		return nil
	case 1:
		return errors.New("a setting is wrong:\n  " + problems[0])
	}
	return fmt.Errorf("%d settings are wrong:\n  %s", len(problems), strings.Join(problems, "\n  "))
}

// walk calls leaf for each setting of the struct v and of the structs in it, and check for each struct that is a Checker, after
// its leaves. A struct whose variables, with prefix, are all unset reads those with the prefix base.
func walk(v reflect.Value, prefix, base string, vars map[string]string, leaf func(setting), check func(string, Checker)) {
	source := prefix
	if !anySet(v.Type(), prefix, vars) {
		source = base
	}
	for i := range v.NumField() {
		field := v.Type().Field(i)
		if name := field.Tag.Get("env"); name != "" {
			s := setting{name: prefix + name, source: source + name, value: v.Field(i), file: v.FieldByName(field.Name + "File"), field: field}
			if or := field.Tag.Get("or"); or != "" && !isSet(s.source, vars) {
				s.source = source + or
			}
			leaf(s)
		} else if field.Type.Kind() == reflect.Struct {
			added := field.Tag.Get("envPrefix")
			inner, innerBase := prefix+added, base+added
			if field.Tag.Get("fallback") == "true" {
				innerBase = base
			}
			walk(v.Field(i), inner, innerBase, vars, leaf, check)
		}
	}
	if v.CanInterface() {
		if c, ok := v.Addr().Interface().(Checker); ok {
			check(source, c)
		}
	}
}

// anySet tells whether one of the variables of struct type t, its inner structs left out, is set.
func anySet(t reflect.Type, prefix string, vars map[string]string) bool {
	for i := range t.NumField() {
		if name := t.Field(i).Tag.Get("env"); name != "" && isSet(prefix+name, vars) {
			return true
		}
	}
	return false
}

func isSet(name string, vars map[string]string) bool {
	return vars[name] != "" || vars[name+"_FILE"] != ""
}

func (s setting) secret() bool { return s.field.Tag.Get("secret") == "true" }

// set reads the setting's variable into its field. It returns false and what is wrong when it cannot be used.
func (s setting) set(vars map[string]string) (Problem, bool) {
	if !s.value.CanSet() {
		return Problem{}, true
	}
	text := vars[s.source]
	if s.secret() {
		var err error
		if text, err = secret(s.source, vars); err != nil {
			return Problem{Name: s.source, Allowed: err.Error()}, false
		}
		if s.file.IsValid() {
			s.file.SetString(vars[s.source+"_FILE"])
		}
	}
	if err := s.parse(text); err != nil {
		p := Problem{Name: s.source, Value: text, Allowed: err.Error()}
		if s.secret() {
			p.Value = ""
		}
		return p, false
	}
	return Problem{}, true
}

// parse has package env turn text, or the default, into the field's type, in a struct that has only this field: so its errors
// belong to this variable and no other.
func (s setting) parse(text string) error {
	only := reflect.New(reflect.StructOf([]reflect.StructField{s.field}))
	options := env.Options{Environment: map[string]string{}}
	name, _, _ := strings.Cut(s.field.Tag.Get("env"), ",")
	if text != "" {
		options.Environment[name] = text
	}
	if err := env.ParseWithOptions(only.Interface(), options); err != nil {
		return errors.New("must be " + s.allowed(err))
	}
	value := only.Elem().Field(0)
	if text != "" && !s.fits(value, text) {
		return errors.New("must be " + s.allowed(nil))
	}
	s.value.Set(value)
	return nil
}

func (s setting) fits(value reflect.Value, text string) bool {
	if oneof := s.field.Tag.Get("oneof"); oneof != "" {
		return slices.Contains(strings.Split(oneof, ","), text)
	}
	switch v := value.Interface().(type) {
	case url.URL:
		return (v.Scheme == "http" || v.Scheme == "https") && v.Host != ""
	case []string:
		return !slices.Contains(v, "")
	}
	return !value.CanInt() || value.Int() > 0
}

// allowed says what the setting's value must be; err is why it could not be parsed.
func (s setting) allowed(err error) string {
	if oneof := s.field.Tag.Get("oneof"); oneof != "" {
		return "one of " + strings.ReplaceAll(oneof, ",", ", ")
	}
	switch reflect.Zero(s.field.Type).Interface().(type) {
	case time.Duration:
		return "a duration above zero, such as 500ms, 8s or 1h"
	case url.URL:
		return "an absolute http or https URL"
	case bool:
		return "true or false"
	case []string:
		return "values separated by commas, none of them empty"
	case int, int16, int32, int64:
		return "a whole number above zero"
	}
	if p := (env.ParseError{}); errors.As(err, &p) {
		return p.Err.Error()
	}
	return fmt.Sprint(err)
}

// secret returns the value of variable name or what the file that name_FILE names contains, without the newline at its end.
func secret(name string, vars map[string]string) (string, error) {
	file := vars[name+"_FILE"]
	if file == "" {
		return vars[name], nil
	}
	if vars[name] != "" {
		return "", fmt.Errorf("must not be set together with %s_FILE", name)
	}
	content, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("cannot be read as %s_FILE says: %w", name, withoutName(err))
	}
	return strings.TrimRight(string(content), "\r\n"), nil
}

// proxy tells whether net/http, which reads these variables itself, can use one. Else it says so, with all that is in the
// variable, when the first request is made.
func proxy(text string) bool {
	_, err := (&httpproxy.Config{HTTPProxy: text}).ProxyFunc()(&url.URL{Scheme: "http", Host: "backend"})
	return err == nil
}

// withoutName returns why a file cannot be read. Its name may be no name but what should be in it.
func withoutName(err error) error {
	if path := (*fs.PathError)(nil); errors.As(err, &path) {
		return path.Err
	}
	return err
}

func toMap(environ []string) map[string]string {
	return maps.Collect(func(yield func(string, string) bool) {
		for _, e := range environ {
			if name, value, ok := strings.Cut(e, "="); ok && !yield(name, value) {
				return
			}
		}
	})
}
