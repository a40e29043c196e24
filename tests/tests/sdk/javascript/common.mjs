import assert from "node:assert/strict";
import process from "node:process";

import { Client, Sandbox } from "@deno/sandbox";

let checked = 0;

function check(actual, expected) {
  checked += 1;
  try {
    assert.deepEqual(actual, expected);
  } catch (error) {
    console.error(`check ${checked}: ${error.message}\n${new Error().stack}`);
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
  console.log(`checked ${checked}`);
  process.exit(0);
}
