package httpapi

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// pageDriver runs the page's script as a browser would: with a document of its own making, and node's fetch on the real server. It types,
// submits, and prints what can then be seen.
const pageDriver = `
'use strict';
const [script, origin] = process.argv.slice(2);
class Node {
  constructor(tag) { this.tag = tag; this.children = []; this.listeners = {}; this.value = ''; this.text = ''; this.className = ''; this.style = undefined; }
  append(...nodes) { this.children.push(...nodes.map((n) => (typeof n === 'string' ? Object.assign(new Node('#text'), { text: n }) : n))); }
  replaceChildren(...nodes) { this.children = []; this.append(...nodes); }
  addEventListener(name, f) { this.listeners[name] = f; }
  set textContent(text) { this.children = []; this.text = text; }
  get textContent() { return this.text + this.children.map((c) => c.textContent).join(''); }
  set innerHTML(_) { throw new Error('text must not become markup'); }
  all(tag) { return this.children.flatMap((c) => (c.tag === tag ? [c] : []).concat(c.all(tag))); }
  find(name) { return this.children.flatMap((c) => (c.className === name ? [c] : []).concat(c.find(name))); }
}
const byId = { token: new Node('input'), login: new Node('form'), state: new Node('p'), list: new Node('main') };
const calls = [];
let pending = [];
const track = (promise) => { pending.push(promise); return promise; };
globalThis.location = { origin };
globalThis.document = { getElementById: (id) => byId[id], createElement: (tag) => new Node(tag) };
const realFetch = globalThis.fetch;
globalThis.fetch = (url, options) => {
  const full = new URL(url, origin);
  if (full.origin !== origin) throw new Error('a request to elsewhere: ' + full);
  calls.push(full.pathname + full.search);
  return track(realFetch(full, options).then((response) => {
    for (const read of ['text', 'json', 'arrayBuffer']) {
      const real = response[read].bind(response);
      response[read] = () => track(real());
    }
    return response;
  }));
};
const settle = async () => { for (let i = 0; i < 200; i++) { const now = pending; pending = []; await Promise.allSettled(now); await new Promise((r) => setTimeout(r, 1)); if (i > 20 && pending.length === 0) return; } };
const submit = async (form) => { form.listeners.submit({ preventDefault() {} }); await settle(); };
(async () => {
  require('vm').runInThisContext(require('fs').readFileSync(script, 'utf8'));
  await settle();
  const out = { before: byId.state.textContent };
  byId.token.value = 'reader-reader';
  await submit(byId.login);
  out.state = byId.state.textContent;
  out.names = byId.list.all('h2').map((h) => h.textContent);
  const card = byId.list.all('details')[0];
  const form = card.all('form')[0];
  out.fields = card.all('label').map((l) => l.textContent);
  out.notes = card.find('note').map((n) => n.textContent);
  const inputs = Object.fromEntries(['input', 'select', 'textarea'].flatMap((t) => card.all(t)).map((i) => [i.name, i]));
  inputs.word.value = "it's <b>&\"";
  inputs.n.value = '9007199254740993';
  inputs.list.value = 'a\nb c';
  await submit(form);
  out.curl = card.find('curl')[0].textContent;
  out.cells = card.all('td').map((c) => c.textContent);
  out.heads = card.all('th').map((c) => c.textContent);
  inputs.n.value = 'x';
  await submit(form);
  out.failed = card.find('failed').map((n) => n.textContent);
  inputs.n.value = '1';
  inputs.format.value = 'csv';
  await submit(form);
  out.csv = card.all('pre').map((n) => n.textContent).pop();
  out.calls = calls;
  console.log(JSON.stringify(out));
})().catch((e) => { console.error(e); process.exit(1); });
`

func TestEndpointPageWorks(t *testing.T) {
	node, err := exec.LookPath("node")
	require.NoError(t, err, "node comes with npm, which the tests' PostgreSQL needs")
	k := publish(t, kitOptions{users: true}, map[string]string{
		"a/echo.sql": `-- summary: Says it again
-- parameters:
--   - {name: word, required: true, description: anything}
--   - {name: n, type: integer, default: 5, min: 1}
--   - {name: list, type: list of text}
--   - {name: sure, type: boolean, default: true}
SELECT $word::VARCHAR AS word, $n::BIGINT AS n, $list::VARCHAR[] AS list, $sure::BOOLEAN AS sure, NULL AS nothing`,
		"closed.sql": "-- roles: [loader]\nSELECT 1",
	})
	driver := filepath.Join(t.TempDir(), "driver.js")
	require.NoError(t, os.WriteFile(driver, []byte(pageDriver), 0o600))
	script := filepath.Join(t.TempDir(), "page.js")
	require.NoError(t, os.WriteFile(script, k.get("/v0/endpoints/-/page.js").body, 0o600))
	cmd := exec.CommandContext(t.Context(), node, driver, script, k.url)
	cmd.Stderr = os.Stderr
	text, err := cmd.Output()
	require.NoError(t, err, "%s", text)
	var got struct {
		Before, State, Curl, CSV                          string
		Names, Fields, Notes, Cells, Heads, Failed, Calls []string
	}
	require.NoError(t, json.Unmarshal(text, &got), "%s", text)
	require.Equal(t, "This server wants a login: type a token.", got.Before)
	require.Equal(t, "1 endpoint", got.State)
	require.Equal(t, []string{"a/echo"}, got.Names)
	require.Equal(t, []string{"format", "word", "n", "list", "sure"}, got.Fields)
	require.Contains(t, got.Notes, "anything · string")
	require.Contains(t, got.Notes, "int64 · ≥ 1")
	require.Equal(t, []string{"word", "n", "list", "sure", "nothing"}, got.Heads)
	require.Equal(t, []string{`it's <b>&"`, "9007199254740993", `["a","b c"]`, "true", "NULL"}, got.Cells, "to the last digit")
	require.Equal(t, `curl -s -H "Authorization: Bearer $PINTAIL_TOKEN" '`+k.url+`/v0/endpoints/a/echo.json?word=it%27s+%3Cb%3E%26%22&n=9007199254740993&list=a&list=b+c'`, got.Curl)
	require.Len(t, got.Failed, 1)
	require.Contains(t, got.Failed[0], `400: parameter n needs a whole number`)
	require.Contains(t, got.CSV, "word,n,list,sure,nothing\n")
	require.Equal(t, "/v0/endpoints/openapi.json", got.Calls[0])
	require.Len(t, got.Calls, 5)
}
