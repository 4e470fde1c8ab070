package main

import (
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	podsecurity "k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
)

// user is who the images run as.
const user = 65532

func (m *manifest) checkWorkload(r *report, w *workload, all *programs) {
	m.checkSelector(r, w)
	checkRights(r, w.template)
	spec := w.template.Spec
	m.checkVolumes(r, spec)
	if len(spec.Containers) != 1 || len(spec.InitContainers) != 0 {
		r.add("has %d containers and %d init containers, not one and none", len(spec.Containers), len(spec.InitContainers))
		return
	}
	c := spec.Containers[0]
	checkImage(r, c)
	checkResources(r, c)
	checkSpread(r, w.template)
	p, err := all.of(c.Image)
	if err != nil {
		r.add("%v", err)
		return
	}
	env := m.checkEnv(r, spec, c, p)
	checkGrace(r, spec, p, env)
	m.checkReach(r, w, p, env)
	if w.serves {
		checkPort(r, c, p.value("HTTP_ADDR", env))
		checkProbe(r, c, "startupProbe", c.StartupProbe, "/healthz")
		checkProbe(r, c, "livenessProbe", c.LivenessProbe, "/healthz")
		checkProbe(r, c, "readinessProbe", c.ReadinessProbe, "/readyz")
	}
}

// checkSelector: a Deployment selects its own pods and nobody else's.
func (m *manifest) checkSelector(r *report, w *workload) {
	if w.selector == nil { // a Job's is made by Kubernetes
		return
	}
	if w.selector.Empty() || !w.selector.Matches(labels.Set(w.template.Labels)) {
		r.add("its selector %q does not select its pods, which have the labels %q", w.selector, labels.Set(w.template.Labels))
	}
	for _, other := range m.workloads {
		if other != w && w.selector.Matches(labels.Set(other.template.Labels)) {
			r.add("its selector %q also selects the pods of %s", w.selector, other.id)
		}
	}
}

// checkRights: what the Pod Security Standard "restricted" asks for, and more.
func checkRights(r *report, template corev1.PodTemplateSpec) {
	standard, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		r.add("the Pod Security Standard cannot be evaluated: %v", err)
		return
	}
	restricted := podsecurity.LevelVersion{Level: podsecurity.LevelRestricted, Version: podsecurity.LatestVersion()}
	for _, result := range standard.EvaluatePod(restricted, &template.ObjectMeta, &template.Spec) {
		if !result.Allowed {
			r.add("Pod Security Standard restricted: %s: %s", result.ForbiddenReason, result.ForbiddenDetail)
		}
	}
	spec := template.Spec
	if isNot(spec.AutomountServiceAccountToken, false) {
		r.add("automountServiceAccountToken must be false: nothing here talks to Kubernetes")
	}
	if isNot(spec.EnableServiceLinks, false) {
		r.add("enableServiceLinks must be false: variables of Services would be taken for settings")
	}
	if s := spec.SecurityContext; s == nil || isNot(s.RunAsUser, user) || isNot(s.RunAsGroup, user) {
		r.add("runAsUser and runAsGroup must be %d, as in the images", user)
	}
	for _, c := range spec.Containers {
		if s := c.SecurityContext; s == nil || isNot(s.ReadOnlyRootFilesystem, true) {
			r.add("container %s: readOnlyRootFilesystem must be true", c.Name)
		}
	}
}

func isNot[T comparable](pointer *T, want T) bool { return pointer == nil || *pointer != want }

func checkImage(r *report, c corev1.Container) {
	_, tag, _ := strings.Cut(c.Image[strings.LastIndex(c.Image, "/")+1:], ":")
	if tag == "" || tag == "latest" {
		r.add("image %s must have a tag that stays: images in kustomization.yaml", c.Image)
	}
}

// checkResources: what is asked for and what is the most. CPU needs no limit.
func checkResources(r *report, c corev1.Container) {
	for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
		request, limit := c.Resources.Requests[name], c.Resources.Limits[name]
		if request.Sign() <= 0 {
			r.add("container %s: resources.requests.%s is missing", c.Name, name)
		}
		if name == corev1.ResourceMemory && limit.Sign() <= 0 {
			r.add("container %s: resources.limits.memory is missing", c.Name)
		}
		if limit.Sign() > 0 && request.Cmp(limit) > 0 {
			r.add("container %s: more %s is requested (%s) than allowed (%s)", c.Name, name, &request, &limit)
		}
	}
}

// checkGrace: a program that stops in order is not killed before it has.
func checkGrace(r *report, spec corev1.PodSpec, p program, env map[string]string) {
	needed, err := time.ParseDuration(p.value("SHUTDOWN_TIMEOUT", env))
	if err != nil {
		r.add("SHUTDOWN_TIMEOUT: %v", err)
		return
	}
	if l := spec.Containers[0].Lifecycle; l != nil && l.PreStop != nil && l.PreStop.Sleep != nil {
		needed += time.Duration(l.PreStop.Sleep.Seconds) * time.Second
	}
	grace := 30 * time.Second
	if s := spec.TerminationGracePeriodSeconds; s != nil {
		grace = time.Duration(*s) * time.Second
	}
	if grace <= needed {
		r.add("terminationGracePeriodSeconds: %v is no longer than the %v that stopping may take", grace, needed)
	}
}
