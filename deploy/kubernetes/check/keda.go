package main

import (
	"slices"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// scaledObject is what these manifests may use of KEDA's ScaledObject, v1alpha1. KEDA's own package brings a controller with it, and
// knows no more of a trigger's metadata.
type scaledObject struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`

	Spec struct {
		ScaleTargetRef struct {
			Name string `json:"name"`
		} `json:"scaleTargetRef"`
		PollingInterval *int32    `json:"pollingInterval"`
		CooldownPeriod  *int32    `json:"cooldownPeriod"`
		MinReplicaCount *int32    `json:"minReplicaCount"`
		MaxReplicaCount *int32    `json:"maxReplicaCount"`
		Triggers        []trigger `json:"triggers"`
	} `json:"spec"`
}

type trigger struct {
	Type              string            `json:"type"`
	Metadata          map[string]string `json:"metadata"`
	AuthenticationRef *struct {
		Name string `json:"name"`
		Kind string `json:"kind"`
	} `json:"authenticationRef"`
}

// DeepCopyObject makes it a runtime.Object; nothing here changes one.
func (s *scaledObject) DeepCopyObject() runtime.Object { return s }

func addKEDA(scheme *runtime.Scheme) error {
	scheme.AddKnownTypeWithName(schema.GroupVersionKind{Group: "keda.sh", Version: "v1alpha1", Kind: "ScaledObject"}, &scaledObject{})
	return nil
}

// kafkaTrigger are the settings of KEDA's scaler kafka, those of the log-in left out: they belong into a TriggerAuthentication.
var kafkaTrigger = []string{
	"bootstrapServers", "consumerGroup", "topic", "lagThreshold", "activationLagThreshold", "offsetResetPolicy", "allowIdleConsumers",
	"scaleToZeroOnInvalidOffset", "excludePersistentLag", "limitToPartitionsWithLag", "ensureEvenDistributionOfPartitions", "version",
	"partitionLimitation", "sasl", "tls",
}

// checkScaler: it scales a Deployment that is there, by the lag of what that reads, to no more pods than there are partitions.
func (m *manifest) checkScaler(r *report, s *scaledObject, all *programs) {
	target := m.workload("Deployment " + s.Spec.ScaleTargetRef.Name)
	if target == nil {
		r.add("there is no Deployment %s to scale", s.Spec.ScaleTargetRef.Name)
		return
	}
	if target.replicas != nil {
		r.add("%s says replicas: every apply would set back what KEDA has set", target.id)
	}
	program, env := m.runs(target, all)
	for i, t := range s.Spec.Triggers {
		if t.Type != "kafka" {
			r.add("trigger %d: the type %q is not known here", i, t.Type)
			continue
		}
		for name := range t.Metadata {
			if !slices.Contains(kafkaTrigger, name) {
				r.add("trigger %d: %s is no setting of KEDA's scaler kafka", i, name)
			}
		}
		if !isValueOf(program, env, t.Metadata["topic"], "_TOPIC") {
			r.add("trigger %d: %s knows no topic %q", i, target.id, t.Metadata["topic"])
		}
		if brokers := t.Metadata["bootstrapServers"]; !isValueOf(program, env, brokers, "KAFKA_BROKERS") {
			r.add("trigger %d: bootstrapServers %q are not the KAFKA_BROKERS of %s", i, brokers, target.id)
		}
		if lag, err := strconv.Atoi(t.Metadata["lagThreshold"]); err != nil || lag <= 0 {
			r.add("trigger %d: lagThreshold %q is no number of records", i, t.Metadata["lagThreshold"])
		}
		m.checkPods(r, s, t, all)
	}
	if len(s.Spec.Triggers) == 0 {
		r.add("has no trigger")
	}
}

// checkPods: no more pods than partitions, of which the job that makes the topics knows.
func (m *manifest) checkPods(r *report, s *scaledObject, t trigger, all *programs) {
	lowest, highest := int32(0), int32(100) // KEDA's defaults
	if s.Spec.MinReplicaCount != nil {
		lowest = *s.Spec.MinReplicaCount
	}
	if s.Spec.MaxReplicaCount != nil {
		highest = *s.Spec.MaxReplicaCount
	}
	if lowest > highest {
		r.add("minReplicaCount %d is more than maxReplicaCount %d", lowest, highest)
	}
	job := m.workload("Job topic-config")
	if job == nil {
		return
	}
	program, env := m.runs(job, all)
	setting := "TOPIC_PARTITIONS"
	if t.Metadata["topic"] == program.value("TRACING_TOPIC", env) {
		setting = "TRACING_PARTITIONS"
	}
	if partitions := program.value(setting, env); strconv.Itoa(int(highest)) != partitions {
		r.add("maxReplicaCount is %d, and %s has %s partitions", highest, t.Metadata["topic"], partitions)
	}
}

func (m *manifest) workload(id string) *workload {
	i := slices.IndexFunc(m.workloads, func(w *workload) bool { return w.id == id })
	if i < 0 {
		return nil
	}
	return m.workloads[i]
}

// runs returns the program of a workload and its variables. What is wrong with them is told where the workload is checked.
func (m *manifest) runs(w *workload, all *programs) (program, map[string]string) {
	if len(w.template.Spec.Containers) != 1 {
		return program{}, nil
	}
	c := w.template.Spec.Containers[0]
	p, err := all.of(c.Image)
	if err != nil {
		return program{}, nil
	}
	return p, m.environment(&report{}, c)
}

// isValueOf reports that the value is that of one of the program's settings whose names end so.
func isValueOf(p program, env map[string]string, value, suffix string) bool {
	return slices.ContainsFunc(p.settings, func(s setting) bool {
		return strings.HasSuffix(s.name, suffix) && value != "" && p.value(s.name, env) == value
	})
}
