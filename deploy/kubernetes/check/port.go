package main

import (
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// checkPort: the port http is the one that the program listens on.
func checkPort(r *report, c corev1.Container, addr string) {
	listens := addr[strings.LastIndex(addr, ":")+1:]
	if port := resolve(c, intstr.FromString("http")); strconv.Itoa(int(port)) != listens {
		r.add("container %s: containerPort %d is named http, and HTTP_ADDR is %s", c.Name, port, addr)
	}
}

func checkProbe(r *report, c corev1.Container, name string, probe *corev1.Probe, path string) {
	if probe == nil || probe.HTTPGet == nil {
		r.add("container %s: %s is missing, or is no httpGet", c.Name, name)
		return
	}
	if probe.HTTPGet.Path != path {
		r.add("container %s: %s asks %s, not %s", c.Name, name, probe.HTTPGet.Path, path)
	}
	if resolve(c, probe.HTTPGet.Port) == 0 {
		r.add("container %s: %s asks port %s, which the container does not have", c.Name, name, &probe.HTTPGet.Port)
	}
}

// checkService: it selects pods, and they have its ports.
func (m *manifest) checkService(r *report, s *corev1.Service) {
	selected := 0
	for _, w := range m.workloads {
		if len(s.Spec.Selector) == 0 || !labels.SelectorFromSet(s.Spec.Selector).Matches(labels.Set(w.template.Labels)) {
			continue
		}
		selected++
		for _, port := range s.Spec.Ports {
			target := port.TargetPort
			if target == (intstr.IntOrString{}) {
				target = intstr.FromInt32(port.Port)
			}
			if len(w.template.Spec.Containers) == 1 && resolve(w.template.Spec.Containers[0], target) == 0 {
				r.add("port %d goes to port %s, which %s does not have", port.Port, &target, w.id)
			}
		}
	}
	if selected != 1 {
		r.add("its selector %q selects the pods of %d Deployments, not of one", labels.Set(s.Spec.Selector), selected)
	}
	if len(s.Spec.Ports) == 0 {
		r.add("has no port")
	}
}

// resolve returns the number of a container's port, given by name or number, and
// 0 if it has none such.
func resolve(c corev1.Container, port intstr.IntOrString) int32 {
	for _, p := range c.Ports {
		if port.Type == intstr.String && p.Name == port.StrVal || port.Type == intstr.Int && p.ContainerPort == port.IntVal {
			return p.ContainerPort
		}
	}
	return 0
}
