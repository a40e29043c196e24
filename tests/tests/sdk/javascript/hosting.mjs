// What belongs to Deno Deploy's hosting of apps, and what this host does not have yet: every call says so.
const client = new Client();

async function exhaust(calling) {
  const result = await calling;
  if (result?.[Symbol.asyncIterator]) for await (const _ of result);
}

console.debug = () => {};
for (const area of ["apps", "layers", "revisions", "timelines", "volumes"]) {
  const methods = Object.getOwnPropertyNames(Object.getPrototypeOf(client[area]));
  for (const method of methods.filter((name) => name !== "constructor")) {
    const error = await fails(() => exhaust(client[area][method]("some-id", { start: "0", labels: {} })), "ApiError");
    check([`${area}.${method}`, error.status, error.code], [`${area}.${method}`, 501, "NOT_SUPPORTED"]);
  }
}

await using(Sandbox.create(), async (sandbox) => {
  await fails(() => sandbox.deploy("some-app"), "NOT_SUPPORTED");
  // The default image is without Deno.
  await fails(() => sandbox.deno.run({ code: "1" }), "no program `deno`");
  await fails(() => sandbox.deno.eval("1"), "no program `deno`");
  await fails(() => sandbox.exposeVscode(), "no program `code-server`");
  check(await sandbox.sh`echo and goes on`.text(), "and goes on\n");
});
done();
