'use strict';

// The token stays in this page's memory: it is gone with the page.
const token = () => document.getElementById('token').value.trim();
const headers = () => (token() ? { Authorization: 'Bearer ' + token() } : {});

function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  Object.assign(element, properties);
  element.append(...children);
  return element;
}

function say(text, failed) {
  const state = document.getElementById('state');
  state.textContent = text;
  state.className = failed ? 'failed' : '';
}

// problem is the message of a failed answer.
async function problem(response) {
  const text = await response.text();
  try {
    const { error } = JSON.parse(text);
    return response.status + ': ' + error.message + (error.hint ? ' (' + error.hint + ')' : '');
  } catch {
    return response.status + ' ' + text;
  }
}

// exact makes texts of numbers that would not be shown as they were written.
const exact = (json) => json.replace(/"(?:[^"\\]|\\.)*"|-?\d[0-9.eE+-]*/g, (token) => (token[0] === '"' || String(Number(token)) === token ? token : JSON.stringify(token)));

async function list() {
  const main = document.getElementById('list');
  main.replaceChildren();
  say('…');
  let api;
  try {
    const response = await fetch('/v0/endpoints/openapi.json', { headers: headers() });
    if (response.status === 401) {
      say('This server wants a login: type a token.', true);
      return;
    }
    if (!response.ok) throw new Error(await problem(response));
    api = await response.json();
  } catch (error) {
    say(String(error.message || error), true);
    return;
  }
  const paths = Object.keys(api.paths).sort();
  for (const path of paths) main.append(card(path, api.paths[path].get));
  say(paths.length === 0 ? 'There is no endpoint that you may call.' : paths.length + (paths.length === 1 ? ' endpoint' : ' endpoints'));
}

function card(path, operation) {
  const fields = operation.parameters.filter((p) => p.in !== 'header').map(field);
  const result = make('div', { className: 'result' });
  const form = make('form', { noValidate: true }, ...fields.map((f) => f.row), make('button', { type: 'submit', textContent: 'Try it' }));
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    call(path, fields, result);
  });
  const title = make('summary', {}, make('h2', { textContent: path.replace('/v0/endpoints/', '').replace('.{format}', '') }), make('span', { textContent: operation.summary || '' }));
  const description = make('p', { className: 'description', textContent: operation.description || '' });
  return make('details', {}, title, make('div', { className: 'body' }, description, form, result));
}

// field is the input of one parameter; values() are the texts to send.
function field(parameter) {
  const schema = parameter.schema;
  const one = schema.items || schema;
  const id = 'f' + ++field.count;
  let input;
  const choices = one.enum || (one.type === 'boolean' ? ['true', 'false'] : null);
  if (choices && !schema.items) {
    input = make('select', { id });
    if (!parameter.required) input.append(make('option', { value: '', textContent: '' }));
    for (const c of choices) input.append(make('option', { value: c, textContent: c }));
    input.value = parameter.in === 'path' && schema.default !== undefined ? schema.default : parameter.example !== undefined ? String(parameter.example) : input.value;
  } else if (schema.items) {
    input = make('textarea', { id, rows: 2, placeholder: 'one value a line' });
    if (parameter.example !== undefined) input.value = parameter.example.join('\n');
  } else {
    input = make('input', { id, type: 'text', spellcheck: false });
    if (schema.default !== undefined) input.placeholder = String(schema.default);
    if (parameter.example !== undefined) input.value = String(parameter.example);
  }
  input.name = parameter.name;
  const label = make('label', { htmlFor: id, textContent: parameter.name, className: parameter.required ? 'needed' : '' });
  const row = make('div', { className: 'field' }, label, input, make('span', { className: 'note', textContent: note(parameter, one) }));
  const values = () => (input.value === '' ? [] : schema.items ? input.value.split('\n').filter((v) => v !== '') : [input.value]);
  return { parameter, row, values };
}
field.count = 0;

function note(parameter, one) {
  const parts = [];
  if (parameter.description) parts.push(parameter.description);
  parts.push((parameter.schema.items ? 'list of ' : '') + (one.format || one.type));
  if (one.minimum !== undefined) parts.push('≥ ' + one.minimum);
  if (one.maximum !== undefined) parts.push('≤ ' + one.maximum);
  if (one.minLength !== undefined) parts.push('at least ' + one.minLength + ' characters');
  if (one.maxLength !== undefined) parts.push('at most ' + one.maxLength + ' characters');
  if (one.pattern) parts.push(one.pattern);
  if (one.description) parts.push(one.description);
  return parts.join(' · ');
}

// address is the path and query of a call.
function address(path, fields) {
  const query = new URLSearchParams();
  for (const f of fields) {
    for (const v of f.values()) {
      if (f.parameter.in === 'path') path = path.replace('{' + f.parameter.name + '}', encodeURIComponent(v));
      else query.append(f.parameter.name, v);
    }
  }
  path = path.replace('{format}', 'json');
  const text = query.toString();
  return text ? path + '?' + text : path;
}

// quote is a word of a shell's command line.
const quote = (word) => "'" + word.replaceAll("'", "'\\''") + "'";

function curl(url) {
  // The token is shown by name: a command line is copied to where others read it.
  return 'curl -s' + (token() ? ' -H "Authorization: Bearer $PINTAIL_TOKEN"' : '') + ' ' + quote(url);
}

const textsMax = 200000;

async function call(path, fields, result) {
  const url = location.origin + address(path, fields);
  result.replaceChildren(make('pre', { className: 'curl', textContent: curl(url) }));
  const show = (element) => result.append(element);
  let response;
  try {
    response = await fetch(url, { headers: headers() });
    if (!response.ok) {
      show(make('pre', { className: 'failed', textContent: await problem(response) }));
      return;
    }
    const type = response.headers.get('Content-Type') || '';
    const facts = [String(response.status), type];
    for (const name of ['Age', 'X-Pintail-Position']) if (response.headers.get(name)) facts.push(name + ' ' + response.headers.get(name));
    if (type.startsWith('application/json')) {
      const text = await response.text();
      const answer = JSON.parse(exact(text));
      facts.push(answer.row_count + ' rows' + (answer.truncated ? ', cut off' : ''), answer.elapsed_ms + ' ms');
      show(make('p', { className: 'note', textContent: facts.join(' · ') }));
      if (answer.error) show(make('pre', { className: 'failed', textContent: answer.error.message }));
      show(table(answer));
    } else if (type.startsWith('text/') || type.includes('ndjson')) {
      const text = await response.text();
      show(make('p', { className: 'note', textContent: facts.join(' · ') }));
      show(make('pre', { textContent: text.length > textsMax ? text.slice(0, textsMax) + '…' : text }));
    } else {
      const bytes = (await response.arrayBuffer()).byteLength;
      show(make('p', { className: 'note', textContent: facts.concat(bytes + ' bytes').join(' · ') }));
    }
  } catch (error) {
    show(make('pre', { className: 'failed', textContent: String(error.message || error) }));
  }
}

const rowsMax = 500;

function table(answer) {
  const head = make('tr', {}, ...answer.columns.map((c) => make('th', { textContent: c.name, title: c.type })));
  const cell = (v) => (v === null ? make('td', { className: 'null', textContent: 'NULL' }) : make('td', { textContent: typeof v === 'object' ? JSON.stringify(v) : String(v) }));
  const body = answer.rows.slice(0, rowsMax).map((row) => make('tr', {}, ...row.map(cell)));
  const out = make('div', { className: 'rows' }, make('table', {}, make('thead', {}, head), make('tbody', {}, ...body)));
  if (answer.rows.length > rowsMax) out.append(make('p', { className: 'note', textContent: 'the first ' + rowsMax + ' of ' + answer.rows.length + ' rows' }));
  return out;
}

document.getElementById('login').addEventListener('submit', (event) => {
  event.preventDefault();
  list();
});
list();
