// A real client, driven by lines of JSON: one question per line on standard input, one answer per line on standard
// output. It ends when its input ends, and closes its browser.
//
//   node client.mjs chromium|firefox|node|ws
//
// CLIENT_PACKAGES is the folder with node_modules; CLIENT_BROWSER is the browser's program; CLIENT_FOLDER is a folder
// for everything that it writes; CLIENT_HOSTS has the addresses of hosts for Chromium, as JSON: [[name, address], …].
import { rmSync } from "node:fs";
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const require = createRequire(`${process.env.CLIENT_PACKAGES}/`);
const PATIENCE_MS = 60_000;

// Opens a WebSocket and reports everything that a script can learn. After the first message it sends something, if it
// should, and after the next one it closes. It also runs in browsers, so it uses nothing from its surroundings.
async function converse({ url, protocols, say, patience }, create) {
  const socket = create ? create() : new WebSocket(url, protocols);
  const seen = { opened: false, protocol: "", messages: [] };
  return await new Promise((resolve) => {
    const timer = setTimeout(() => resolve({ ...seen, error: "nothing happened for too long" }), patience);
    socket.onopen = () => {
      seen.opened = true;
      seen.protocol = socket.protocol;
    };
    socket.onmessage = ({ data }) => {
      seen.messages.push(data);
      if (say !== undefined && seen.messages.length === 1) socket.send(say);
      else socket.close(1000);
    };
    socket.onerror = () => {}; // close follows
    socket.onclose = ({ code, reason, wasClean }) => {
      clearTimeout(timer);
      resolve({ ...seen, code, reason, clean: wasClean });
    };
  });
}

const withPatience = (question) => ({ ...question, patience: PATIENCE_MS });

// There is no name server where the tests run. The provider's pages load a font.
const HOSTS = [...JSON.parse(process.env.CLIENT_HOSTS ?? "[]"), ["fonts.googleapis.com", "~NOTFOUND"]];
const RESOLVER = `--host-resolver-rules=${HOSTS.map(([name, address]) => `MAP ${name} ${address}`).join(",")}`;

async function chromium() {
  const { chromium } = require("playwright-core");
  const browser = await chromium.launchPersistentContext(`${process.env.CLIENT_FOLDER}/profile`, {
    executablePath: process.env.CLIENT_BROWSER,
    headless: true,
    ignoreHTTPSErrors: true,
    // No requests to the outside world, and no sandbox: these tests may run as root.
    args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run", RESOLVER],
  });

  async function open({ cookie, url, page, viewport, scheme }) {
    await browser.clearCookies();
    if (cookie) await browser.addCookies([{ ...cookie, url: new URL(page ?? url).origin }]);
    const tab = await browser.newPage();
    tab.setDefaultTimeout(PATIENCE_MS);
    if (viewport) await tab.setViewportSize(viewport);
    if (scheme) await tab.emulateMedia({ colorScheme: scheme });
    return tab;
  }

  // The page that was opened last, and what happened there.
  let current;
  let happened;

  return {
    async websocket(question) {
      const tab = await open(question);
      try {
        await tab.goto(question.page);
        return await tab.evaluate(converse, withPatience(question));
      } finally {
        await tab.close();
      }
    },

    // Opens a page and stays there.
    async visit(question) {
      await current?.close();
      current = await open(question);
      happened = { console: [], requests: [] };
      const { console, requests } = happened;
      current.on("console", (message) => console.push({ type: message.type(), text: message.text() }));
      current.on("pageerror", (error) => console.push({ type: "exception", text: String(error) }));
      current.on("request", (request) => requests.push(request.url()));
      const response = await current.goto(question.url);
      return { status: response.status(), headers: await response.allHeaders(), body: await response.text() };
    },

    // Waits until a text appears on the page, takes a screenshot, and returns what `probe` (an expression) finds.
    async look({ text, screenshot, probe }) {
      const answer = {};
      if (text) {
        await current.waitForFunction((text) => document.body?.innerText.includes(text), text).catch((error) => {
          answer.error = String(error).split("\n")[0];
        });
      }
      if (screenshot) await current.screenshot({ path: screenshot });
      answer.found = probe ? await current.evaluate(probe) : null;
      answer.text = await current.evaluate(() => document.body.innerText);
      return { ...answer, ...happened };
    },

    async signOut() {
      await browser.clearCookies();
      return {};
    },

    // The response that a script on a page gets.
    async fetch(question) {
      const tab = await open(question);
      try {
        await tab.goto(question.page);
        return await tab.evaluate(async ({ url, options }) => {
          const response = await fetch(url, options);
          return { status: response.status, type: response.headers.get("content-type"), body: await response.text() };
        }, question);
      } finally {
        await tab.close();
      }
    },

    end: () => browser.close(),
  };
}

async function firefox() {
  const { default: puppeteer } = require("puppeteer-core");
  const browser = await puppeteer.launch({
    browser: "firefox",
    executablePath: process.env.CLIENT_BROWSER,
    headless: true,
    acceptInsecureCerts: true,
    userDataDir: `${process.env.CLIENT_FOLDER}/profile`,
    // JSON is shown as plain text, in a page where scripts may open a WebSocket.
    extraPrefsFirefox: { "devtools.jsonview.enabled": false },
  });
  return {
    async websocket(question) {
      const context = await browser.createBrowserContext();
      try {
        if (question.cookie) {
          const { hostname } = new URL(question.page);
          await context.setCookie({ ...question.cookie, domain: hostname, path: "/" });
        }
        const tab = await context.newPage();
        await tab.goto(question.page);
        return await tab.evaluate(converse, withPatience(question));
      } finally {
        await context.close();
      }
    },
    end: () => browser.close(),
    process: browser.process().pid,
  };
}

function node() {
  return {
    websocket: (question) =>
      converse(withPatience(question), () => new WebSocket(question.url, { protocols: question.protocols, headers: question.headers })),
    end() {},
  };
}

function ws() {
  const Socket = require("ws");
  return {
    websocket: (question) => converse(withPatience(question), () => new Socket(question.url, question.protocols, { headers: question.headers })),
    end() {},
  };
}

const kinds = { chromium, firefox, node, ws };
const client = await kinds[process.argv[2]]();
const say = (answer) => process.stdout.write(`${JSON.stringify(answer)}\n`);
say({ ready: true, process: client.process });
try {
  for await (const line of createInterface({ input: process.stdin, crlfDelay: Infinity })) {
    const question = JSON.parse(line);
    say(await client[question.op](question).catch((error) => ({ error: String(error?.stack ?? error) })));
  }
} finally {
  await client.end();
  // Also if the test was interrupted and cannot do this itself.
  rmSync(process.env.CLIENT_FOLDER, { recursive: true, force: true, maxRetries: 20 });
}
process.exit(0);
