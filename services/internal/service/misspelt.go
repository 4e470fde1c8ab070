package service

import (
	"reflect"
	"slices"
	"strings"

	"github.com/agnivade/levenshtein"
)

// misspelt returns the names of variables that look like one of cfg's settings and are none, each with the one that may be meant.
func misspelt(cfg any, environ []string) (found []suspicion) {
	var settings []string
	walk(reflect.ValueOf(cfg).Elem(), "", "", nil, func(s setting) {
		names := []string{s.name, s.source}
		if or := s.field.Tag.Get("or"); or != "" {
			names = append(names, or)
		}
		for _, name := range names {
			settings = append(settings, name)
			if s.secret() {
				settings = append(settings, name+"_FILE")
			}
		}
	}, func(string, Checker) {})
	for name, value := range toMap(environ) {
		if value == "" || len(settings) == 0 || slices.Contains(settings, name) {
			continue
		}
		nearest := slices.MinFunc(settings, func(a, b string) int {
			return levenshtein.ComputeDistance(name, a) - levenshtein.ComputeDistance(name, b)
		})
		if levenshtein.ComputeDistance(name, nearest) <= maxSlips {
			found = append(found, suspicion{name, nearest})
		}
	}
	slices.SortFunc(found, func(a, b suspicion) int { return strings.Compare(a.variable, b.variable) })
	return found
}

// maxSlips is by how many letters a name may differ from that of a setting to look like it.
const maxSlips = 2

type suspicion struct{ variable, setting string }
