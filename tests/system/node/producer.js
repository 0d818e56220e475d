// A producer that knows nothing but the message contract: publishes a fan-out, then waits for its JobCompleted event.
// Arguments: project, events subscription, how many instances. Prints the event's attributes and data as one JSON line.
const { randomUUID } = require("node:crypto");
const { PubSub } = require("@google-cloud/pubsub");

const [projectId, subscription, count] = process.argv.slice(2);
const pubsub = new PubSub({ projectId });
const orchestration = randomUUID();

async function main() {
  const topic = pubsub.topic("jobs");
  const events = pubsub.subscription(subscription);
  const received = new Promise((resolve, reject) => {
    events.on("error", reject);
    events.on("message", (message) => {
      message.ack();
      if (message.attributes.orchestration_id === orchestration) resolve(message);
    });
  });
  for (let index = 0; index < Number(count); index += 1) {
    await topic.publishMessage({
      json: { number: index },
      attributes: {
        job_name: "square",
        orchestration_id: orchestration,
        index: String(index),
        count,
        "tag.customer": "from node",
      },
    });
  }
  const event = await received;
  console.log(JSON.stringify({ attributes: event.attributes, body: JSON.parse(event.data.toString()) }));
  await events.close();
  await pubsub.close();
}

main().then(() => process.exit(0), (error) => { console.error(error); process.exit(1); });
