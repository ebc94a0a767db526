// What was asked for, as text for a shell or a program: it can be pasted and works as it is.
//
// A shell has no session yet, so it makes one. A picture that is the session's own is nobody
// else's: it is sent again, from a file. Pure.

/** What a job adds to its order, or only fills in; what the built-in provider is told for tests. */
const DEFAULTS = { negative_prompt: "", n: 1, output_format: "png", strength: 0.75 };

/** Gives the order that makes this job again. */
export function orderOf({ model, input, priority }) {
  const wanted = Object.entries(input).filter(
    ([name, value]) => value !== null && value !== DEFAULTS[name],
  );
  const order = { model, input: Object.fromEntries(wanted) };
  if (priority && priority !== "normal") order.priority = priority;
  return order;
}

const isOwn = (picture) => typeof picture === "string" && !/^(https?|data):/.test(picture);

/** Gives a shell's lines: a session, the order, and its end as JSON. */
export function curl(job, origin) {
  const order = orderOf(job);
  const bearer = `-H "Authorization: Bearer $token"`;
  const lines = [
    `token=$(curl -sS -X POST ${origin}/v1/sessions | sed 's/.*"token":"\\([^"]*\\)".*/\\1/')`,
  ];
  let body = JSON.stringify(order);
  for (const name of ["image", "mask"].filter((name) => isOwn(order.input[name]))) {
    lines.push(
      `# ${name}.png is the ${name === "mask" ? "mask" : "picture to start from"}, beside you`,
      `${name}=$(curl -sS ${origin}/v1/files ${bearer} -F file=@${name}.png | sed 's/.*"id":"\\([^"]*\\)".*/\\1/')`,
    );
    // Out of the quotes, the variable, and into them again; done after the quoting below.
    order.input[name] = `\u0000${name}\u0000`;
    body = JSON.stringify(order);
  }
  const quoted = quote(body).replace(/\\u0000(\w+)\\u0000/g, `'"$$$1"'`);
  lines.push(
    [
      `curl -sS ${origin}/v1/jobs ${bearer}`,
      "-H 'Content-Type: application/json'",
      `-d ${quoted}`,
    ].join(" \\\n  "),
  );
  return `${lines.join("\n")}\n`;
}

/** Gives lines for a page's console or a module. */
export function javascript(job, origin) {
  const { model, input, priority } = orderOf(job);
  const order = JSON.stringify({ model, input, priority }, null, 2);
  return [
    `const { Framewire } = await import("${origin}/client/framewire.js");`,
    "",
    `const fw = new Framewire({ url: "${origin}/" });`,
    `const job = await fw.generate(${order});`,
    "const { status, picture } = await job.result;",
    "console.log(status, fw.href(picture));",
    "fw.close();",
    "",
  ].join("\n");
}

/** Quotes a text for a POSIX shell. */
const quote = (text) => `'${text.replaceAll("'", `'\\''`)}'`;
