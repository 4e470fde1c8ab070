package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/kustomize/kyaml/filesys"
)

const bin = "../../../bin"

var all = &programs{bin: bin, asked: map[string]program{}}

// manifests returns the repository's manifests in memory, where a test can break
// them, in the folder /base; in /whole, the same with all components.
func manifests(t *testing.T) filesys.FileSystem {
	t.Helper()
	if _, err := os.Stat(filepath.Join(bin, "relay")); err != nil {
		t.Fatalf("the programs are not built (make build): %v", err)
	}
	fs := filesys.MakeFsInMemory()
	for _, pattern := range []string{"../*.yaml", "../*.env", "../components/*/*.yaml"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("no files %s: %v", pattern, err)
		}
		for _, file := range files {
			content, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			write(t, fs, filepath.Join("/base", strings.TrimPrefix(file, "..")), string(content))
		}
	}
	components, err := filepath.Glob("../components/*")
	if err != nil {
		t.Fatal(err)
	}
	whole := "resources: [../base]\ncomponents:\n"
	for _, dir := range components {
		whole += "  - ../base/components/" + filepath.Base(dir) + "\n"
	}
	write(t, fs, "/whole/kustomization.yaml", whole)
	return fs
}

func write(t *testing.T, fs filesys.FileSystem, path, content string) {
	t.Helper()
	if err := fs.WriteFile(path, []byte(content)); err != nil {
		t.Fatal(err)
	}
}

// edit replaces text that must be there once.
func edit(t *testing.T, fs filesys.FileSystem, path, old, text string) {
	t.Helper()
	content, err := fs.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(content), old); n != 1 {
		t.Fatalf("%q is %d times in %s, not once", old, n, path)
	}
	write(t, fs, path, strings.Replace(string(content), old, text, 1))
}

func TestManifestsAreRightAndComplete(t *testing.T) {
	m, findings, err := check(manifests(t), "/base", all)
	if err != nil {
		t.Fatal(err)
	}
	if len(findings) > 0 {
		t.Errorf("findings:\n%s", strings.Join(findings, "\n"))
	}
	var got []string
	for _, w := range m.workloads {
		got = append(got, w.id)
	}
	for _, s := range m.services {
		got = append(got, "Service "+s.Name)
	}
	slices.Sort(got)
	want := []string{
		"Deployment answer", "Deployment random", "Deployment relay", "Deployment sentence", "Deployment stream",
		"Job topic-config", "Service random", "Service relay",
	}
	if !slices.Equal(got, want) || len(m.data) != 2 {
		t.Errorf("objects are %q and %d with data, want %q and a ConfigMap and a Secret", got, len(m.data), want)
	}
}

func TestWhatIsBrokenIsFound(t *testing.T) {
	for _, test := range []struct{ name, file, old, text, want string }{
		{"field that does not exist", "relay.yaml", "replicas: 2", "replica: 2", `unknown field "spec.replica"`},
		{"field in the wrong place", "pod.yaml", "capabilities: {drop: [ALL]}", "drop: [ALL]", "unknown field"},
		{"value of the wrong type", "relay.yaml", "replicas: 2", "replicas: two", "cannot unmarshal"},
		{"field twice", "relay.yaml", "replicas: 2", "replicas: 2\n  replicas: 3", "already defined"},
		{"version that does not exist", "relay.yaml", "apiVersion: apps/v1", "apiVersion: apps/v9", "no kind"},
		{"kind without rules", "relay.yaml", "kind: Service", "kind: Node", "Node relay"},

		{"selector without pods", "relay.yaml", "matchLabels: {app.kubernetes.io/name: relay}", "matchLabels: {app: relay}", "does not select its pods"},
		{"selector of someone else's pods", "relay.yaml", "labels: {app.kubernetes.io/name: relay}\n    spec", "labels: {app.kubernetes.io/name: answer}\n    spec", "also selects the pods of Deployment relay"},
		{"service without pods", "relay.yaml", "selector: {app.kubernetes.io/name: relay}\n  ports", "selector: {app.kubernetes.io/name: relais}\n  ports", "pods of 0 Deployments"},
		{"service of all pods", "relay.yaml", "selector: {app.kubernetes.io/name: relay}\n  ports", "selector: {app.kubernetes.io/part-of: fault-tolerant-tracing}\n  ports", "pods of 6 Deployments"},
		{"service without a port", "relay.yaml", "- {name: http, port: 8097, targetPort: http}", "[]", "has no port"},
		{"service to a port without name", "relay.yaml", "targetPort: http", "targetPort: web", "which Deployment relay does not have"},
		{"service to a port without number", "relay.yaml", ", targetPort: http", ", targetPort: 80", "which Deployment relay does not have"},

		{"no security context", "pod.yaml", "allowPrivilegeEscalation: false\n    readOnlyRootFilesystem: true\n    capabilities: {drop: [ALL]}", "{}", "restricted: unrestricted capabilities"},
		{"root", "pod.yaml", "runAsNonRoot: true", "runAsNonRoot: false", "restricted: runAsNonRoot"},
		{"another user", "pod.yaml", "runAsUser: 65532", "runAsUser: 1000", "runAsUser and runAsGroup must be 65532"},
		{"capabilities", "pod.yaml", "drop: [ALL]", "add: [NET_ADMIN]", "restricted: unrestricted capabilities"},
		{"privilege escalation", "pod.yaml", "allowPrivilegeEscalation: false", "allowPrivilegeEscalation: true", "restricted: allowPrivilegeEscalation"},
		{"no seccomp profile", "pod.yaml", "RuntimeDefault", "Unconfined", "restricted: seccompProfile"},
		{"files of the node", "pod.yaml", "secret: {secretName: secrets, defaultMode: 0440}", "hostPath: {path: /etc}", "restricted: restricted volume types"},
		{"writable file system", "pod.yaml", "readOnlyRootFilesystem: true", "readOnlyRootFilesystem: false", "readOnlyRootFilesystem must be true"},
		{"token of Kubernetes", "pod.yaml", "automountServiceAccountToken\n  value: false", "automountServiceAccountToken\n  value: true", "automountServiceAccountToken must be false"},
		{"variables of services", "pod.yaml", "enableServiceLinks\n  value: false", "enableServiceLinks\n  value: true", "enableServiceLinks must be false"},
		{"no memory limit", "pod.yaml", "limits: {memory: 256Mi}", "limits: {}", "resources.limits.memory is missing"},
		{"no request", "pod.yaml", "requests: {cpu: 50m, memory: 64Mi}", "requests: {memory: 64Mi}", "resources.requests.cpu is missing"},
		{"request above the limit", "pod.yaml", "memory: 64Mi", "memory: 1Gi", "more memory is requested"},
		{"too short to stop", "pod.yaml", "value: 15", "value: 8", "no longer than the 8s"},
		{"wait before stopping not counted", "random.yaml", "seconds: 3", "seconds: 7", "no longer than the 15s"},
		{"longer shutdown not counted", "settings.env", "LOG_LEVEL=info", "SHUTDOWN_TIMEOUT=20s", "no longer than the 20s"},
		{"shutdown that is no duration", "settings.env", "LOG_LEVEL=info", "SHUTDOWN_TIMEOUT=soon", "SHUTDOWN_TIMEOUT: time: invalid duration"},
		{"second container", "relay.yaml", "      containers:", "      containers:\n        - {name: helper, image: helper}", "has 2 containers"},

		{"image without tag", "kustomization.yaml", "relay\n    newTag: dev", "relais\n    newTag: dev", "must have a tag"},
		{"moving tag", "kustomization.yaml", "relay\n    newTag: dev", "relay\n    newTag: latest", "must have a tag that stays"},
		{"image of no program", "relay.yaml", "image: fault-tolerant-tracing/relay", "image: relais:1", "settings of image relais:1 cannot be known"},

		{"no startup probe", "deployment.yaml", "containers/0/startupProbe", "containers/0/livenessProbe", "startupProbe is missing"},
		{"no liveness probe", "deployment.yaml", "containers/0/livenessProbe", "containers/0/startupProbe", "livenessProbe is missing"},
		{"no readiness probe", "deployment.yaml", "containers/0/readinessProbe", "containers/0/startupProbe", "readinessProbe is missing"},
		{"liveness that needs Kafka", "deployment.yaml", "{path: /healthz, port: http}\n    periodSeconds: 10", "{path: /readyz, port: http}\n    periodSeconds: 10", "livenessProbe asks /readyz"},
		{"probe of a port without name", "deployment.yaml", "{path: /readyz, port: http}", "{path: /readyz, port: web}", "readinessProbe asks port web"},
		{"port that nobody listens on", "relay.yaml", "containerPort: 8097", "containerPort: 8079", "HTTP_ADDR is :8097"},
		{"address that is another port", "settings.env", "LOG_LEVEL=info", "HTTP_ADDR=:9999", "HTTP_ADDR is :9999"},

		{"misspelt setting for all", "settings.env", "LOG_LEVEL=info", "LOGLEVEL=info", "LOGLEVEL is no setting"},
		{"misspelt setting of one", "sentence.yaml", "name: RANDOM_URL", "name: RANDOM_URI", "RANDOM_URI is no setting"},
		{"setting of another program", "settings.env", "LOG_LEVEL=info", "RANDOM_URL=http://random:8096", "Deployment relay: container relay: RANDOM_URL is no setting"},
		{"setting twice", "sentence.yaml", "          env:", "          env:\n            - {name: RANDOM_URL, value: \"http://random:8096\"}", "RANDOM_URL is set twice"},
		{"default that is the pod itself", "settings.env", "KAFKA_BROKERS=kafka.kafka.svc:9092", "", "KAFKA_BROKERS is not set, and its default, localhost:9092"},
		{"URL without a service", "sentence.yaml", "http://random:8096", "http://randon:8096", "there is no Service with this name and port"},
		{"URL of another port", "sentence.yaml", "http://random:8096", "http://random:8097", "there is no Service with this name and port"},
		{"file that is not mounted", "pod.yaml", "mountPath: /etc/fault-tolerant-tracing", "mountPath: /etc/tracing", "is no file of a Secret"},
		{"file that is not in the secret", "secrets.env", "KAFKA_SASL_PASSWORD=", "KAFKA_PASSWORD=", "is no file of a Secret"},
		{"configmap that is not there", "pod.yaml", "configMapRef: {name: settings}", "configMapRef: {name: setting}", "there is no ConfigMap setting"},
		{"secret that is not there", "pod.yaml", "secretName: secrets", "secretName: secret", "there is no Secret secret"},
		{"configmap of nobody", "pod.yaml", "- configMapRef: {name: settings}", "[]", "no pod uses it"},
		{"key that is not there", "sentence.yaml", `value: "http://random:8096"`, "valueFrom: {configMapKeyRef: {name: settings, key: RANDOM_URL}}", "there is no key RANDOM_URL in ConfigMap settings"},
		{"volume that is not there", "pod.yaml", "{name: secrets, mountPath", "{name: secret, mountPath", "there is no volume secret"},
	} {
		t.Run(test.name, func(t *testing.T) {
			fs := manifests(t)
			edit(t, fs, "/base/"+test.file, test.old, test.text)
			_, findings, err := check(fs, "/base", all)
			found := strings.Join(findings, "\n")
			if err != nil {
				found = err.Error()
			}
			if !strings.Contains(found, test.want) {
				t.Errorf("found:\n%s\nwant: %s", found, test.want)
			}
		})
	}
}

func TestComponents(t *testing.T) {
	m, findings, err := check(manifests(t), "/whole", all)
	if err != nil {
		t.Fatal(err)
	}
	if len(findings) > 0 {
		t.Errorf("findings:\n%s", strings.Join(findings, "\n"))
	}
	if len(m.scalers) != 4 || len(m.policies) != 4 || len(m.monitors) != 1 {
		t.Errorf("%d ScaledObjects, %d NetworkPolicies, %d PodMonitors; want 4, 4 and 1", len(m.scalers), len(m.policies), len(m.monitors))
	}
	for _, s := range m.scalers {
		config, err := filepath.Glob("../../../services/" + s.Name + "/*.go")
		if err != nil {
			t.Fatal(err)
		}
		group := `const group = "` + s.Spec.Triggers[0].Metadata["consumerGroup"] + `"`
		if !slices.ContainsFunc(config, func(file string) bool {
			code, err := os.ReadFile(file)
			return err == nil && strings.Contains(string(code), group)
		}) {
			t.Errorf("ScaledObject %s: %s has no %s", s.Name, s.Name, group)
		}
	}
}

func TestWhatIsBrokenInAComponentIsFound(t *testing.T) {
	const scalers, policies, monitor = "autoscaling/scaledobjects.yaml", "network-policy/networkpolicies.yaml", "monitoring/podmonitor.yaml"
	for _, test := range []struct{ name, file, old, text, want string }{
		{"field that a ScaledObject does not have", scalers, "maxReplicaCount: 6", "maxReplicas: 6", `unknown field "spec.maxReplicas"`},
		{"number of pods that is text", scalers, "maxReplicaCount: 6", "maxReplicaCount: six", "cannot unmarshal"},
		{"scales nothing", scalers, "scaleTargetRef: {name: relay}", "scaleTargetRef: {name: relais}", "there is no Deployment relais to scale"},
		{"number of pods twice", "autoscaling/kustomization.yaml", "sentence|answer|relay", "sentence|answer", "Deployment relay says replicas"},
		{"other brokers", "autoscaling/kustomization.yaml", "data.KAFKA_BROKERS", "data.LOG_LEVEL", `bootstrapServers "info" are not the KAFKA_BROKERS`},
		{"misspelt setting of a trigger", scalers, "consumerGroup: tracing-relay", "consumergroup: tracing-relay", "consumergroup is no setting"},
		{"unknown trigger", scalers, "maxReplicaCount: 6\n  triggers:\n    - type: kafka", "maxReplicaCount: 6\n  triggers:\n    - type: kafkas", `the type "kafkas" is not known`},
		{"topic of another", scalers, "topic: tracing-topic", "topic: odd-topic", `Deployment relay knows no topic "odd-topic"`},
		{"lag that is none", scalers, `"10000"`, `"many"`, `lagThreshold "many"`},
		{"more pods than partitions", scalers, "maxReplicaCount: 6", "maxReplicaCount: 7", "maxReplicaCount is 7, and tracing-topic has 6 partitions"},
		{"more at least than at most", scalers, "minReplicaCount: 2\n  maxReplicaCount: 6", "minReplicaCount: 7\n  maxReplicaCount: 6", "minReplicaCount 7 is more"},

		{"field that a policy does not have", policies, "policyTypes: [Ingress, Egress]", "policies: [Ingress, Egress]", `unknown field "spec.policies"`},
		{"policy of nobody", policies, "matchLabels: {app.kubernetes.io/name: relay}", "matchLabels: {app.kubernetes.io/name: relais}", "selects no pods"},
		{"peer that is nobody", policies, "    - to:\n        - podSelector: {matchLabels: {app.kubernetes.io/name: random}}", "    - to:\n        - podSelector: {matchLabels: {app.kubernetes.io/name: rand}}", "selects no pods"},
		{"metrics of no port", policies, "monitoring}}\n      ports:\n        - {port: http}", "monitoring}}\n      ports:\n        - {port: web}", "lets in to port web"},
		{"no names", policies, "- {port: 53, protocol: UDP}", "- {port: 54, protocol: UDP}", "Deployment stream: NetworkPolicies do not let it reach names"},
		{"no Kafka", policies, "- {port: 9092}", "- {port: 9093}", "Job topic-config: NetworkPolicies do not let it reach KAFKA_BROKERS kafka.kafka.svc:9092"},
		{"no Jaeger", policies, "- {port: 4318}", "- {port: 4317}", "Deployment relay: NetworkPolicies do not let it reach OTEL_EXPORTER_OTLP_ENDPOINT"},
		{"not out to random", policies, "  policyTypes: [Egress]\n  egress:\n    - to:", "  policyTypes: [Ingress]\n  egress:\n    - to:", "Deployment sentence: NetworkPolicies do not let it reach RANDOM_URL"},
		{"not in to random", policies, "- podSelector: {matchLabels: {app.kubernetes.io/name: sentence}}", "- podSelector: {matchLabels: {app.kubernetes.io/name: answer}}", "Deployment sentence: NetworkPolicies do not let it reach RANDOM_URL"},

		{"field that a monitor does not have", monitor, "podMetricsEndpoints", "endpoints", `unknown field "spec.endpoints"`},
		{"monitor of one", monitor, "part-of: fault-tolerant-tracing", "name: relay", "leaves out Deployment stream"},
		{"monitor of a port that nobody has", monitor, "port: http", "port: metrics", "asks a port that Deployment relay does not have"},
		{"monitor of another path", monitor, "path: /metrics", "path: /status", "asks /status"},

		{"constraint on others", "spread/deployment.yaml", "topologyKey: kubernetes.io/hostname\n      whenUnsatisfiable: ScheduleAnyway\n      labelSelector: {matchLabels: {app.kubernetes.io/part-of: fault-tolerant-tracing}}",
			"topologyKey: kubernetes.io/hostname\n      whenUnsatisfiable: ScheduleAnyway\n      labelSelector: {matchLabels: {app.kubernetes.io/part-of: fault}}", "does not select its own pods"},
		{"label that is not there", "spread/deployment.yaml", "topologyKey: kubernetes.io/hostname\n      whenUnsatisfiable: ScheduleAnyway\n      labelSelector: {matchLabels: {app.kubernetes.io/part-of: fault-tolerant-tracing}}\n      matchLabelKeys: [app.kubernetes.io/name,",
			"topologyKey: kubernetes.io/hostname\n      whenUnsatisfiable: ScheduleAnyway\n      labelSelector: {matchLabels: {app.kubernetes.io/part-of: fault-tolerant-tracing}}\n      matchLabelKeys: [app,", "its pods have no label app"},
	} {
		t.Run(test.name, func(t *testing.T) {
			fs := manifests(t)
			edit(t, fs, "/base/components/"+test.file, test.old, test.text)
			_, findings, err := check(fs, "/whole", all)
			found := strings.Join(findings, "\n")
			if err != nil {
				found = err.Error()
			}
			if !strings.Contains(found, test.want) {
				t.Errorf("found:\n%s\nwant: %s", found, test.want)
			}
		})
	}
}

// An overlay as docs/kubernetes.md shows it: the names of what it changes still fit.
func TestKustomizationOnTop(t *testing.T) {
	fs := manifests(t)
	write(t, fs, "/mine/kustomization.yaml", `
namespace: tracing
resources: [../base]
configMapGenerator:
  - name: settings
    behavior: merge
    literals:
      - KAFKA_BROKERS=my-kafka:9094
      - OTEL_EXPORTER_OTLP_ENDPOINT=http://my-jaeger:4318
      - KAFKA_SECURITY_PROTOCOL=SASL_SSL
      - KAFKA_TLS_CA_FILE=/etc/fault-tolerant-tracing/ca.crt
secretGenerator:
  - name: secrets
    behavior: merge
    envs: [secrets.env]
    files: [ca.crt]
images:
  - {name: fault-tolerant-tracing/relay, newName: example.com:5000/relay, newTag: v1}
`)
	write(t, fs, "/mine/secrets.env", "KAFKA_SASL_PASSWORD=secret\n")
	write(t, fs, "/mine/ca.crt", "certificate\n")
	m, findings, err := check(fs, "/mine", all)
	if err != nil || len(findings) > 0 {
		t.Fatalf("%v\n%s", err, strings.Join(findings, "\n"))
	}
	for s, data := range m.data {
		if s.kind == "Secret" && (data["KAFKA_SASL_PASSWORD"] != "secret" || data["ca.crt"] != "certificate\n") {
			t.Errorf("%s is %q", s, data)
		}
	}
}

func TestRun(t *testing.T) {
	var out, errs strings.Builder
	if code := run([]string{"..", bin}, &out, &errs); code != 0 || !strings.Contains(out.String(), "10 objects, 6 of them with pods, nothing wrong") {
		t.Errorf("exit code %d, %q, %q", code, &out, &errs)
	}
	if code := run([]string{"..", t.TempDir()}, &out, &errs); code != 1 || !strings.Contains(errs.String(), "cannot be known") {
		t.Errorf("without programs: exit code %d, %q", code, &errs)
	}
	if code := run(nil, &out, &errs); code != 2 {
		t.Errorf("without arguments: exit code %d", code)
	}
}
