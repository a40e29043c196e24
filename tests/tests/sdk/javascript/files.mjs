import { createHash, randomBytes } from "node:crypto";
import * as local from "node:fs/promises";
import { basename } from "node:path";

await using(Sandbox.create(), async ({ fs }) => {
  const binary = new Uint8Array(512_000).map((_, at) => at & 255);
  await fs.writeFile("binary", binary);
  check(Buffer.compare(await fs.readFile("binary"), binary), 0);
  await fs.writeTextFile("text", "grün ✓\n");
  await fs.writeTextFile("text", "more", { append: true });
  check(await fs.readTextFile("text"), "grün ✓\nmore");
  const info = await fs.stat("text");
  const size = Buffer.byteLength("grün ✓\nmore");
  check([info.isFile, info.isDirectory, info.isSymlink, info.size], [true, false, false, size]);
  check([info.mtime instanceof Date, info.isFifo, info.isSocket], [true, false, false]);

  await fs.mkdir("a/b/c", { recursive: true, mode: 0o750 });
  check((await fs.stat("a/b/c")).mode & 0o777, 0o750);
  await fs.symlink("../text", "a/link");
  check(await fs.readLink("a/link"), "../text");
  check(await fs.realPath("a/link"), "/home/app/text");
  check((await fs.lstat("a/link")).isSymlink, true);
  const names = [];
  for await (const entry of fs.readDir("a")) names.push([entry.name, entry.isDirectory]);
  check(names.sort(), [["b", true], ["link", false]]);
  await fs.writeTextFile("a/b/one.txt", "1");
  await fs.writeTextFile("a/b/c/two.txt", "2");
  await fs.writeTextFile("a/b/c/two.md", "2");
  const found = [];
  for await (const entry of fs.walk("a", { exts: ["txt"], includeDirs: false })) found.push(entry.name);
  check(found.sort(), ["one.txt", "two.txt"]);
  const matched = [];
  for await (const entry of fs.expandGlob("a/**/*.md")) matched.push(entry.path);
  check(matched, ["/home/app/a/b/c/two.md"]);

  await fs.rename("text", "moved");
  await fs.copyFile("moved", "copy");
  await fs.chmod("copy", 0o600);
  check((await fs.stat("copy")).mode & 0o777, 0o600);
  await fs.chown("copy", 7, 8);
  const owned = await fs.stat("copy");
  check([owned.uid, owned.gid], [7, 8]);
  await fs.truncate("copy", 3);
  check((await fs.stat("copy")).size, 3);
  await fs.link("copy", "hard");
  check((await fs.stat("hard")).nlink, 2);
  const at = new Date("2020-01-02T03:04:05.000Z");
  await fs.utime("copy", at, at);
  check((await fs.stat("copy")).mtime, at);
  check((await fs.makeTempDir({ prefix: "x-" })).startsWith("/tmp/x-"), true);
  check((await fs.makeTempFile({ suffix: ".y" })).endsWith(".y"), true);
  const mask = await fs.umask();
  check([await fs.umask(0o077), await fs.umask(mask)], [mask, 0o077]);
  await fs.remove("a", { recursive: true });
  const gone = await fails(() => fs.stat("a"), "NotFound", "ENOENT");
  check(gone instanceof Error, true);
  await fails(() => fs.readTextFile("none"), "No such file or directory");
  await fails(() => fs.writeTextFile("copy", "x", { createNew: true }), "AlreadyExists", "EEXIST");
  await fails(() => fs.remove("moved/none"), "ENOTDIR");

  const file = await fs.open("handle", { read: true, write: true, create: true });
  check(await file.write(Buffer.from("0123456789")), 10);
  check(await file.seek(-4, SeekMode.End), 6);
  const buffer = new Uint8Array(100);
  check([await file.read(buffer), Buffer.from(buffer.subarray(0, 4)).toString()], [4, "6789"]);
  check(await file.read(buffer), null);
  check((await file.stat()).size, 10);
  await file.lock(true);
  await file.unlock();
  await file.sync();
  await file.syncData();
  await file.utime(at, at);
  check((await file.stat()).mtime, at);
  await file.truncate(5);
  check(await file.seek(0, SeekMode.Start), 0);
  check([await file.read(buffer), Buffer.from(buffer.subarray(0, 5)).toString()], [5, "01234"]);
  await file.close();
  const created = await fs.create("created");
  const writer = created.writable.getWriter();
  await writer.write(Buffer.from("streamed"));
  await writer.close();
  check(await fs.readTextFile("created"), "streamed");

  // 8 MiB there and back, exactly: as a stream into a file, and as a stream out of its handle.
  const piece = randomBytes(1 << 20);
  const [sent, got] = [createHash("sha256"), createHash("sha256")];
  async function* pieces() {
    for (let number = 0; number < 8; number++) {
      piece[0] = number;
      sent.update(piece);
      yield Uint8Array.from(piece);
    }
  }
  await fs.writeFile("large", ReadableStream.from?.(pieces()) ?? fromAsync(pieces()));
  const large = await fs.open("large", { read: true });
  check((await large.stat()).size, 8 << 20);
  for await (const chunk of large.readable) got.update(chunk);
  check(got.digest("hex"), sent.digest("hex"));

  // A directory up and down, with what it links to: into one that is there.
  const directory = await local.mkdtemp("/tmp/sdk-");
  const name = basename(directory);
  await local.mkdir(`${directory}/in`);
  await local.writeFile(`${directory}/in/binary`, binary);
  await local.symlink("binary", `${directory}/in/link`);
  await fs.mkdir("uploaded");
  await fs.upload(directory, "uploaded");
  check(Buffer.compare(await fs.readFile(`uploaded/${name}/in/link`), binary), 0);
  const down = `${directory}/down`;
  await local.mkdir(down);
  await fs.download(`uploaded/${name}`, down);
  check(Buffer.compare(await local.readFile(`${down}/${name}/in/binary`), binary), 0);
  check(await local.readlink(`${down}/${name}/in/link`), "binary");
  await local.rm(directory, { recursive: true });

  // What is aborted ends, and its sandbox goes on.
  const never = new ReadableStream({ pull: () => sleep(3_600_000) });
  const signal = AbortSignal.timeout(500);
  await fails(() => fs.writeFile("never", never, { signal }), "Abort");
  check(await fs.readTextFile("created"), "streamed");
});
done();

/** What later versions of Node have as `ReadableStream.from`. */
function fromAsync(pieces) {
  return new ReadableStream({
    async pull(controller) {
      const { done, value } = await pieces.next();
      if (done) controller.close();
      else controller.enqueue(value);
    },
  });
}
