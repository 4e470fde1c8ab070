package main

import (
	"net/url"
	"slices"
	"strconv"
	"strings"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// selected returns the workloads whose pods a selector selects.
func (m *manifest) selected(r *report, selector metav1.LabelSelector) (found []*workload) {
	s, err := metav1.LabelSelectorAsSelector(&selector)
	if err != nil {
		r.add("selector: %v", err)
		return nil
	}
	for _, w := range m.workloads {
		if s.Matches(labels.Set(w.template.Labels)) {
			found = append(found, w)
		}
	}
	if len(found) == 0 {
		r.add("its selector %q selects no pods", s)
	}
	return found
}

// checkPolicy: it selects pods, its peers of this namespace are there, and the ports that it lets in have a name there.
func (m *manifest) checkPolicy(r *report, p *networkingv1.NetworkPolicy) {
	pods := m.selected(r, p.Spec.PodSelector)
	for _, rule := range p.Spec.Ingress {
		m.checkPeers(r, rule.From)
		for _, port := range rule.Ports {
			if port.Port != nil && !slices.ContainsFunc(pods, func(w *workload) bool { return w.has(*port.Port) }) {
				r.add("lets in to port %s, which no pod has", port.Port)
			}
		}
	}
	for _, rule := range p.Spec.Egress {
		m.checkPeers(r, rule.To)
	}
}

func (m *manifest) checkPeers(r *report, peers []networkingv1.NetworkPolicyPeer) {
	for _, peer := range peers {
		if peer.PodSelector != nil && peer.NamespaceSelector == nil {
			m.selected(r, *peer.PodSelector)
		}
	}
}

func (w *workload) has(port intstr.IntOrString) bool {
	return slices.ContainsFunc(w.template.Spec.Containers, func(c corev1.Container) bool { return resolve(c, port) != 0 })
}

// checkReach: NetworkPolicies let a workload reach what its settings name: Kafka, the backend, services of these manifests, and the
// names of all of them.
func (m *manifest) checkReach(r *report, w *workload, p program, env map[string]string) {
	need := func(what string, to *workload, port int32, protocol corev1.Protocol) {
		if !m.lets(w, to, port, protocol) {
			r.add("NetworkPolicies do not let it reach %s", what)
		}
	}
	need("names", nil, 53, corev1.ProtocolUDP)
	for _, s := range p.settings {
		value := p.value(s.name, env)
		if strings.HasSuffix(s.name, "KAFKA_BROKERS") {
			for broker := range strings.SplitSeq(value, ",") {
				need(s.name+" "+broker, nil, portOf(broker), corev1.ProtocolTCP)
			}
		}
		u, err := url.Parse(value)
		if err != nil || u.Host == "" || env[s.name] == "" {
			continue
		}
		to, port := m.behind(u)
		need(s.name+" "+value, to, port, corev1.ProtocolTCP)
	}
}

func portOf(address string) int32 {
	port, _ := strconv.ParseInt(address[strings.LastIndex(address, ":")+1:], 10, 32)
	return int32(port)
}

// behind returns the workload behind a URL of a Service of these manifests, and its port; of another URL only the port.
func (m *manifest) behind(u *url.URL) (*workload, int32) {
	port := portOf(u.Host)
	for _, s := range m.services {
		for _, w := range m.workloads {
			if s.Name == u.Hostname() && labels.SelectorFromSet(s.Spec.Selector).Matches(labels.Set(w.template.Labels)) {
				for _, p := range s.Spec.Ports {
					if p.Port == port && len(w.template.Spec.Containers) == 1 {
						return w, resolve(w.template.Spec.Containers[0], p.TargetPort)
					}
				}
			}
		}
	}
	return nil, port
}

// lets reports that no policy stands between a workload and a port: one of another workload, or of something that is not in these
// manifests (nil).
func (m *manifest) lets(from, to *workload, port int32, protocol corev1.Protocol) bool {
	out := m.allows(from, networkingv1.PolicyTypeEgress, func(p *networkingv1.NetworkPolicy) bool {
		return slices.ContainsFunc(p.Spec.Egress, func(rule networkingv1.NetworkPolicyEgressRule) bool {
			return matchesPeer(rule.To, to) && matchesPort(rule.Ports, to, port, protocol)
		})
	})
	return out && (to == nil || m.allows(to, networkingv1.PolicyTypeIngress, func(p *networkingv1.NetworkPolicy) bool {
		return slices.ContainsFunc(p.Spec.Ingress, func(rule networkingv1.NetworkPolicyIngressRule) bool {
			return matchesPeer(rule.From, from) && matchesPort(rule.Ports, to, port, protocol)
		})
	}))
}

// allows reports that one of the policies of this type on the workload's pods allows it, or that there is none.
func (m *manifest) allows(w *workload, kind networkingv1.PolicyType, allowed func(*networkingv1.NetworkPolicy) bool) bool {
	restricted := false
	for _, p := range m.policies {
		selector, err := metav1.LabelSelectorAsSelector(&p.Spec.PodSelector)
		if err != nil || !slices.Contains(p.Spec.PolicyTypes, kind) || !selector.Matches(labels.Set(w.template.Labels)) {
			continue
		}
		if allowed(p) {
			return true
		}
		restricted = true
	}
	return !restricted
}

// matchesPeer: what is not in these manifests may be any peer that is not a pod of them.
func matchesPeer(peers []networkingv1.NetworkPolicyPeer, w *workload) bool {
	return len(peers) == 0 || slices.ContainsFunc(peers, func(peer networkingv1.NetworkPolicyPeer) bool {
		here := peer.PodSelector != nil && peer.NamespaceSelector == nil
		if w == nil || !here {
			return w == nil && !here
		}
		selector, err := metav1.LabelSelectorAsSelector(peer.PodSelector)
		return err == nil && selector.Matches(labels.Set(w.template.Labels))
	})
}

func matchesPort(ports []networkingv1.NetworkPolicyPort, to *workload, port int32, protocol corev1.Protocol) bool {
	return len(ports) == 0 || slices.ContainsFunc(ports, func(p networkingv1.NetworkPolicyPort) bool {
		if p.Protocol != nil && *p.Protocol != protocol || p.Protocol == nil && protocol != corev1.ProtocolTCP {
			return false
		}
		if p.Port == nil || p.Port.Type == intstr.Int && p.Port.IntVal == port {
			return true
		}
		return to != nil && p.Port.Type == intstr.String && resolve(to.template.Spec.Containers[0], *p.Port) == port
	})
}

// checkMonitor: Prometheus asks every program that serves metrics, on a port that it has.
func (m *manifest) checkMonitor(r *report, p *monitoringv1.PodMonitor) {
	pods := m.selected(r, p.Spec.Selector)
	for _, w := range m.workloads {
		if w.serves && !slices.Contains(pods, w) {
			r.add("leaves out %s", w.id)
		}
	}
	for i, endpoint := range p.Spec.PodMetricsEndpoints {
		if endpoint.Path != "" && endpoint.Path != "/metrics" {
			r.add("endpoint %d asks %s, not /metrics", i, endpoint.Path)
		}
		for _, w := range pods {
			if w.serves && (endpoint.Port == nil || !w.has(intstr.FromString(*endpoint.Port))) {
				r.add("endpoint %d asks a port that %s does not have", i, w.id)
			}
		}
	}
	if len(p.Spec.PodMetricsEndpoints) == 0 {
		r.add("has no endpoint")
	}
}

// checkSpread: what a spread constraint counts are the workload's own pods.
func checkSpread(r *report, template corev1.PodTemplateSpec) {
	for i, c := range template.Spec.TopologySpreadConstraints {
		selector, err := metav1.LabelSelectorAsSelector(c.LabelSelector)
		if err != nil || !selector.Matches(labels.Set(template.Labels)) {
			r.add("topologySpreadConstraint %d: its selector does not select its own pods", i)
		}
		for _, key := range c.MatchLabelKeys {
			if _, there := template.Labels[key]; !there && key != "pod-template-hash" {
				r.add("topologySpreadConstraint %d: its pods have no label %s", i, key)
			}
		}
	}
}
