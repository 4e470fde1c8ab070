package main

import (
	"maps"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// backend stands among the settings of all, so that there is one place to change; only the
// relay looks at it.
const backend = "OTEL_EXPORTER_OTLP_ENDPOINT"

// checkEnv: the container's variables are settings of its program, and come from
// somewhere. It returns them.
func (m *manifest) checkEnv(r *report, spec corev1.PodSpec, c corev1.Container, p program) map[string]string {
	env := m.environment(r, c)
	for _, name := range slices.Sorted(maps.Keys(env)) {
		value := env[name]
		if !p.known[name] && name != backend {
			r.add("container %s: %s is no setting of its program: see --help", c.Name, name)
		}
		if strings.HasSuffix(name, "_FILE") && value != "" && !m.mounted(spec, c, value) {
			r.add("container %s: %s=%s is no file of a Secret or ConfigMap that is mounted there", c.Name, name, value)
		}
		m.checkURL(r, c, name, value)
	}
	for _, s := range p.settings {
		if value := p.value(s.name, env); strings.Contains(value, "localhost") {
			r.add("container %s: %s is not set, and its default, %s, is the pod itself", c.Name, s.name, value)
		}
	}
	return env
}

// environment returns the variables of a container, and reports references to nothing.
func (m *manifest) environment(r *report, c corev1.Container) map[string]string {
	env := map[string]string{}
	for _, from := range c.EnvFrom {
		s := origin(from)
		if _, there := m.data[s]; !there {
			r.add("container %s: envFrom: there is no %s", c.Name, s)
		}
		for key, value := range m.data[s] {
			env[from.Prefix+key] = value
		}
	}
	seen := map[string]bool{}
	for _, e := range c.Env {
		if seen[e.Name] {
			r.add("container %s: %s is set twice", c.Name, e.Name)
		}
		seen[e.Name] = true
		env[e.Name] = e.Value
		if s, key, ok := reference(e.ValueFrom); ok {
			value, there := m.data[s][key]
			if !there {
				r.add("container %s: %s: there is no key %s in %s", c.Name, e.Name, key, s)
			}
			env[e.Name] = value
		}
	}
	return env
}

func origin(from corev1.EnvFromSource) source {
	switch {
	case from.ConfigMapRef != nil:
		return source{"ConfigMap", from.ConfigMapRef.Name}
	case from.SecretRef != nil:
		return source{"Secret", from.SecretRef.Name}
	}
	return source{}
}

func reference(from *corev1.EnvVarSource) (source, string, bool) {
	switch {
	case from == nil:
	case from.ConfigMapKeyRef != nil:
		return source{"ConfigMap", from.ConfigMapKeyRef.Name}, from.ConfigMapKeyRef.Key, true
	case from.SecretKeyRef != nil:
		return source{"Secret", from.SecretKeyRef.Name}, from.SecretKeyRef.Key, true
	}
	return source{}, "", false
}

// checkURL: a URL is that of a Service of these manifests. Jaeger is none of
// them, and what has a domain is somewhere else.
func (m *manifest) checkURL(r *report, c corev1.Container, name, value string) {
	u, err := url.Parse(value)
	if err != nil || u.Host == "" || name == "JAEGER_ENDPOINT" || strings.HasPrefix(name, "OTEL_EXPORTER_OTLP_") || strings.Contains(u.Hostname(), ".") {
		return
	}
	known := false
	for _, s := range m.services {
		for _, port := range s.Spec.Ports {
			known = known || s.Name == u.Hostname() && strconv.Itoa(int(port.Port)) == u.Port()
		}
	}
	if !known {
		r.add("container %s: %s=%s: there is no Service with this name and port", c.Name, name, value)
	}
}

// checkVolumes: what is mounted is there.
func (m *manifest) checkVolumes(r *report, spec corev1.PodSpec) {
	volumes := map[string]bool{}
	for _, v := range spec.Volumes {
		volumes[v.Name] = true
		s := contents(v)
		if _, there := m.data[s]; !there && s != (source{}) {
			r.add("volume %s: there is no %s", v.Name, s)
		}
	}
	for _, c := range spec.Containers {
		for _, mount := range c.VolumeMounts {
			if !volumes[mount.Name] {
				r.add("container %s: there is no volume %s to mount", c.Name, mount.Name)
			}
		}
	}
}

// mounted tells whether file is a key of a Secret or ConfigMap in the container.
func (m *manifest) mounted(spec corev1.PodSpec, c corev1.Container, file string) bool {
	dir, key := path.Split(file)
	for _, mount := range c.VolumeMounts {
		for _, v := range spec.Volumes {
			if _, there := m.data[contents(v)][key]; there && v.Name == mount.Name && path.Clean(dir) == path.Clean(mount.MountPath) {
				return true
			}
		}
	}
	return false
}

func contents(v corev1.Volume) source {
	switch {
	case v.Secret != nil:
		return source{"Secret", v.Secret.SecretName}
	case v.ConfigMap != nil:
		return source{"ConfigMap", v.ConfigMap.Name}
	}
	return source{}
}

// checkUse: every ConfigMap and Secret is for somebody.
func (m *manifest) checkUse(r *report) {
	unused := maps.Clone(m.data)
	for _, w := range m.workloads {
		for _, v := range w.template.Spec.Volumes {
			delete(unused, contents(v))
		}
		for _, c := range w.template.Spec.Containers {
			for _, from := range c.EnvFrom {
				delete(unused, origin(from))
			}
			for _, e := range c.Env {
				s, _, _ := reference(e.ValueFrom)
				delete(unused, s)
			}
		}
	}
	for s := range unused {
		r.where = s.String()
		r.add("no pod uses it")
	}
}
