package main

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strconv"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
)

// difference is a setting of a topic that is not as wanted.
type difference struct{ setting, has, want string }

// compare logs where the topics differ from what is wanted. It changes none.
func (m *maker) compare(ctx context.Context, descriptions []kafka.TopicDescription) {
	configs, err := m.configs(ctx)
	if err != nil {
		m.log.Warn("could not read the settings of the topics", "err", err)
	}
	has := map[string]kafka.TopicDescription{}
	for _, d := range descriptions {
		has[d.Name] = d
	}
	for _, r := range m.results {
		for _, d := range differences(r.topic, has[r.topic.name], configs[r.topic.name]) {
			m.log.Warn("topic has another setting than wanted, left as it is", "topic", r.topic.name, "setting", d.setting, "has", d.has, "want", d.want)
		}
	}
}

// configs returns the settings of the topics, by the name of the topic.
func (m *maker) configs(ctx context.Context) (map[string]map[string]kafka.ConfigEntryResult, error) {
	var resources []kafka.ConfigResource
	for _, r := range m.results {
		resources = append(resources, kafka.ConfigResource{Type: kafka.ResourceTopic, Name: r.topic.name})
	}
	answers, err := m.admin.DescribeConfigs(ctx, resources, kafka.SetAdminRequestTimeout(createTimeout))
	configs := map[string]map[string]kafka.ConfigEntryResult{}
	for _, a := range answers {
		if a.Error.Code() == kafka.ErrNoError {
			configs[a.Name] = a.Config
		} else {
			err = cmp.Or[error](err, a.Error)
		}
	}
	return configs, err
}

// differences lists what of a topic is not as wanted; settings that could not be
// read are left out.
func differences(want topic, has kafka.TopicDescription, config map[string]kafka.ConfigEntryResult) []difference {
	var list []difference
	note := func(setting, has, want string) {
		if has != want {
			list = append(list, difference{setting, has, want})
		}
	}
	note("partitions", strconv.Itoa(len(has.Partitions)), strconv.Itoa(want.partitions))
	if len(has.Partitions) > 0 {
		note("replication", strconv.Itoa(len(has.Partitions[0].Replicas)), strconv.Itoa(want.replication))
	}
	wanted := want.config()
	for _, key := range slices.Sorted(maps.Keys(wanted)) {
		if entry, ok := config[key]; ok {
			note(key, entry.Value, wanted[key])
		}
	}
	return list
}
