package main

import (
	"errors"
	"fmt"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

// manifest is what a kustomization builds.
type manifest struct {
	objects   int
	workloads []*workload
	services  []*corev1.Service
	policies  []*networkingv1.NetworkPolicy
	monitors  []*monitoringv1.PodMonitor
	scalers   []*scaledObject
	data      map[source]map[string]string
}

// workload is an object with pods.
type workload struct {
	id       string // "Deployment relay"
	name     string
	selector labels.Selector
	replicas *int32
	template corev1.PodTemplateSpec
	serves   bool // runs on and has an HTTP server, so that it can be probed
}

// source is a ConfigMap or a Secret.
type source struct{ kind, name string }

func (s source) String() string { return s.kind + " " + s.name }

// build runs kustomize and decodes each object strictly: a field that its type
// does not have is an error, as is a kind that has no business here.
func build(fs filesys.FileSystem, dir string) (*manifest, error) {
	resources, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(fs, dir)
	if err != nil {
		return nil, fmt.Errorf("build %s: %w", dir, err)
	}
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		appsv1.AddToScheme, batchv1.AddToScheme, corev1.AddToScheme, networkingv1.AddToScheme, monitoringv1.AddToScheme, addKEDA,
	} {
		utilruntime.Must(add(scheme))
	}
	decoder := serializer.NewCodecFactory(scheme, serializer.EnableStrict).UniversalDeserializer()

	m := &manifest{data: map[source]map[string]string{}}
	var errs []error
	for _, resource := range resources.Resources() {
		id := resource.GetKind() + " " + resource.GetName()
		text, err := resource.AsYAML()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", id, err)
		}
		object, _, err := decoder.Decode(text, nil, nil)
		if err == nil {
			err = m.add(id, object)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", id, err))
		}
	}
	return m, errors.Join(errs...)
}

func (m *manifest) add(id string, object runtime.Object) error {
	m.objects++
	switch o := object.(type) {
	case *appsv1.Deployment:
		selector, err := metav1.LabelSelectorAsSelector(o.Spec.Selector)
		if err != nil {
			return fmt.Errorf("selector: %w", err)
		}
		m.workloads = append(m.workloads, &workload{id: id, name: o.Name, selector: selector, replicas: o.Spec.Replicas, template: o.Spec.Template, serves: true})
	case *batchv1.Job:
		m.workloads = append(m.workloads, &workload{id: id, name: o.Name, template: o.Spec.Template})
	case *corev1.Service:
		m.services = append(m.services, o)
	case *networkingv1.NetworkPolicy:
		m.policies = append(m.policies, o)
	case *monitoringv1.PodMonitor:
		m.monitors = append(m.monitors, o)
	case *scaledObject:
		m.scalers = append(m.scalers, o)
	case *corev1.ConfigMap:
		m.data[source{"ConfigMap", o.Name}] = o.Data
	case *corev1.Secret:
		data := map[string]string{}
		for key, value := range o.Data {
			data[key] = string(value)
		}
		m.data[source{"Secret", o.Name}] = data
	default:
		return errors.New("no rule here says what it should look like")
	}
	return nil
}
