import assert from "node:assert/strict";
import process from "node:process";
import { setTimeout as sleep } from "node:timers/promises";

import { Client, Sandbox, SeekMode } from "@deno/sandbox";
import WebSocket from "ws";

// Scripts that expect complaints of the SDK silence it.
const complain = console.error;
let checked = 0;
const called = new Set();

// What leaves the SDK is seen below it: in the libraries that it speaks through.
const { fetch: fetching } = globalThis;
globalThis.fetch = (url, options) => {
  called.add(`${options?.method ?? "GET"} ${new URL(url).pathname}`);
  return fetching(url, options);
};
const { send } = WebSocket.prototype;
WebSocket.prototype.send = function (message, ...rest) {
  called.add(`GET ${new URL(this.url).pathname}`);
  const method = /"method":"(\w+)"/.exec(String(message).slice(0, 200));
  if (method) called.add(method[1]);
  return send.call(this, message, ...rest);
};

function check(actual, expected) {
  checked += 1;
  try {
    assert.deepEqual(actual, expected);
  } catch (error) {
    complain(`check ${checked}: ${error.message}\n${new Error().stack}`);
    process.exit(1);
  }
}

async function fails(call, ...words) {
  let error;
  try {
    await call();
  } catch (caught) {
    error = caught;
  }
  if (error === undefined) check("it went well", `it fails: ${words}`);
  const text = `${error.constructor.name} ${error.name} ${error.code} ${error.message}`;
  for (const word of words) check(text.includes(word) || text, true);
  return error;
}

async function using(opening, doing) {
  const sandbox = await opening;
  try {
    return await doing(sandbox);
  } finally {
    await sandbox.close();
  }
}

function done() {
  for (const call of [...called].sort()) console.log(`called ${call}`);
  console.log(`checked ${checked}`);
  process.exit(0);
}
