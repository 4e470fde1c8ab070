import java.util.Map;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/** Writes one record of so many zeros, packed with zstd: Produce.java BROKERS TOPIC PARTITION BYTES. Kafka's own client does not tell in the batch how large it was. */
public class Produce {
  public static void main(String[] args) throws Exception {
    var settings =
        Map.<String, Object>of(
            "bootstrap.servers", args[0],
            "compression.type", "zstd",
            "max.request.size", Integer.MAX_VALUE,
            "buffer.memory", 1L << 30);
    try (var producer = new KafkaProducer<>(settings, new ByteArraySerializer(), new ByteArraySerializer())) {
      producer.send(new ProducerRecord<>(args[1], Integer.valueOf(args[2]), null, new byte[Integer.parseInt(args[3])])).get();
    }
  }
}
