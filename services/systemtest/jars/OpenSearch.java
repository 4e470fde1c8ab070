import java.util.concurrent.CountDownLatch;
import org.codelibs.opensearch.runner.OpenSearchRunner;

/** One OpenSearch node without security: OpenSearch.java FOLDER HTTP_PORT. The runner's own main takes no port of the caller's. */
public class OpenSearch {
  public static void main(String[] args) throws Exception {
    new OpenSearchRunner()
        .onBuild(
            (number, settings) ->
                settings
                    .put("discovery.type", "single-node")
                    .put("network.host", "127.0.0.1")
                    .put("http.port", args[1])
                    .put("transport.port", "0"))
        .build("-numOfNode", "1", "-basePath", args[0]);
    new CountDownLatch(1).await(); // until the process is ended
  }
}
