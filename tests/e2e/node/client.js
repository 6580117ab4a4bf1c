// Lists, submits, watches and provokes an error, knowing nothing but the address. Prints what it saw as JSON.
const grpc = require("@grpc/grpc-js");
const { GrpcReflection } = require("grpc-js-reflection-client");

const address = process.argv[2];
const credentials = grpc.credentials.createInsecure();

async function stubOf(reflection, name) {
  const descriptor = await reflection.getDescriptorBySymbol(name);
  const loaded = descriptor.getPackageObject({ keepCase: true, enums: String, longs: String, defaults: true });
  const Service = name.split(".").reduce((level, part) => level[part], loaded);
  return new Service(address, credentials);
}

const unary = (stub, method, request) =>
  new Promise((resolve, reject) => stub[method](request, (error, answer) => (error ? reject(error) : resolve(answer))));

async function main() {
  const input = JSON.parse(require("fs").readFileSync(0, "utf8"));
  const reflection = new GrpcReflection(address, credentials);
  const services = await reflection.listServices();
  const jobs = await stubOf(reflection, "visionjobs.v1.VisionJobService");
  input.spec.images = input.spec.images.map((image) => ({ data: Buffer.from(image.data, "base64") }));
  const { job } = await unary(jobs, "SubmitJob", input);
  const states = [];
  for await (const change of jobs.WatchJob({ job_id: job.job_id })) states.push(change.job.state);
  const error = await unary(jobs, "GetJob", { job_id: "42" }).then(() => null, (refused) => refused);
  const health = await stubOf(reflection, "grpc.health.v1.Health");
  const { status } = await unary(health, "Check", {});
  console.log(JSON.stringify({ services, states, error_code: error.code, health: status }));
  process.exit(0);
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
