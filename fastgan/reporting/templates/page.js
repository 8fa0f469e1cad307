"use strict";
// Everything here adds to a page that is complete without it.
const find = id => document.getElementById(id);
const all = (selector, root = document) => [...root.querySelectorAll(selector)];
const make = (tag, values = {}, ...children) => {
  const made = Object.assign(document.createElement(tag), values);
  made.append(...children);
  return made;
};
const data = JSON.parse(find("data").textContent);
const cards = new Map(all(".group").map(card => [Number(card.dataset.number), card]));

// The table of all images, which is packed; null in a browser that cannot unpack it.
let unpacking = null;
function table() {
  unpacking ??= (async () => {
    if (!("DecompressionStream" in self)) return null;
    const packed = Uint8Array.from(atob(data.table), letter => letter.charCodeAt(0));
    const plain = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
    return new Response(plain).json();
  })().catch(() => null);
  return unpacking;
}

// A picture, enlarged. Arrow keys go to the next picture of its row.
const dialog = find("enlarged");
let row = [], place = 0, opener = null;
function enlarge(pictures, at) {
  if (!dialog.open) opener = document.activeElement;
  row = pictures;
  place = (at + row.length) % row.length;
  const { src, text, link, plain } = row[place];
  const image = make("img", { src, alt: text, className: plain ? "" : "pixelated" });
  const buttons = make("p", { className: "buttons" });
  if (row.length > 1) {
    for (const [label, step] of [["Previous", -1], ["Next", 1]]) {
      const button = make("button", { type: "button", textContent: label });
      button.addEventListener("click", () => step_to(step));
      buttons.append(button);
    }
  }
  if (link) buttons.append(make("a", { href: link, className: "button", textContent: "Open the original" }));
  const close = make("button", { type: "button", textContent: "Close" });
  close.addEventListener("click", () => dialog.close());
  buttons.append(close);
  dialog.replaceChildren(image, make("p", { textContent: text, role: "status" }), buttons);
  if (!dialog.open) dialog.showModal();
}
function step_to(step) {
  enlarge(row, place + step);
  (all("button", dialog)[step < 0 ? 0 : 1] ?? dialog).focus();
}
dialog.addEventListener("keydown", event => {
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (step && row.length > 1) { event.preventDefault(); step_to(step); }
});
dialog.addEventListener("click", event => { if (event.target === dialog) dialog.close(); });
dialog.addEventListener("close", () => { opener?.focus(); });

// In each row one picture takes the Tab key, and arrow keys go from one to the next.
for (const strip of all(".strip")) {
  const shots = all(".shot", strip);
  const pictures = shots.map(shot => {
    const image = shot.querySelector("img");
    return { src: image.src, text: image.alt, link: shot.querySelector("a")?.href,
      plain: !image.classList.contains("pixelated") };
  });
  const buttons = shots.map((shot, at) => {
    const image = shot.querySelector("img");
    const button = make("button", { type: "button", tabIndex: at ? -1 : 0 });
    button.setAttribute("aria-label", `Enlarge ${image.alt}`);
    image.replaceWith(button);
    button.append(image);
    button.addEventListener("click", () => enlarge(pictures, at));
    return button;
  });
  strip.addEventListener("keydown", event => {
    const at = buttons.indexOf(event.target);
    const to = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: buttons.length - 1 }[event.key];
    if (at < 0 || to === undefined || !buttons[to]) return;
    event.preventDefault();
    buttons[at].tabIndex = -1;
    buttons[to].tabIndex = 0;
    buttons[to].focus();
  });
}

// On a small screen the panel would push the groups far down.
if (matchMedia("(min-width: 700px)").matches) find("naming").open = true;

// Names of groups, and groups that are the same as another one.
const given = new Map(), same = new Map();
const root = code => { while (same.has(code)) code = same.get(code); return code; };
const members = code => [code, ...[...same.keys()].filter(each => root(each) === code)].sort((a, b) => a - b);
const default_name = code => {
  const own = members(code);
  return own.length > 1 ? `groups ${own.slice(0, -1).join(", ")} and ${own.at(-1)}` : "";
};
const name_of = code => given.get(root(code)) || default_name(root(code));
const names = () => Object.fromEntries([...Array(data.classes).keys()].map(code => [code, name_of(code)]).filter(pair => pair[1]));

function remember() {
  try { localStorage.setItem(data.key, JSON.stringify(names())); } catch { /* a browser may refuse */ }
}
function show_names() {
  for (const label of all("[data-given]")) {
    const name = name_of(Number(label.dataset.given));
    label.textContent = name && (label.closest("h3") ? `${name} · ` : name);
  }
  for (const field of all("[data-name]")) {
    const code = Number(field.dataset.name);
    field.disabled = same.has(code);
    if (field !== document.activeElement) field.value = field.disabled ? name_of(code) : given.get(code) ?? "";
  }
  for (const field of all("[data-same]")) field.value = same.get(Number(field.dataset.same)) ?? "";
  for (const option of all("option[data-code]")) {
    const name = name_of(Number(option.dataset.code));
    option.textContent = `group ${option.dataset.code}${name ? ` (${name})` : ""}`;
  }
  const named = names(), kinds = new Set(Object.values(named));
  const merged = Object.keys(named).length - kinds.size;
  find("naming-status").textContent = kinds.size
    ? `${Object.keys(named).length} of ${data.classes} groups have a name` + (merged ? `; those with the same name count as one, which makes ${data.classes - merged} kinds.` : ".")
    : "No group has a name yet.";
}
function set_names(read) {
  given.clear();
  same.clear();
  const first = new Map();
  for (const [key, name] of Object.entries(read)) {
    const code = Number(key);
    if (first.has(name)) same.set(code, first.get(name));
    else { first.set(name, code); given.set(code, name); }
  }
}
function check_names(read) {
  const named = read?.names;
  if (typeof named !== "object" || named === null || Array.isArray(named)) throw Error("it has no names");
  if (read.classes !== undefined && read.classes !== data.classes) throw Error(`it is of a run with ${read.classes} groups, this one has ${data.classes}`);
  for (const [key, name] of Object.entries(named)) {
    if (!/^\d+$/.test(key) || Number(key) >= data.classes) throw Error(`there is no group ${key}`);
    if (typeof name !== "string" || !name.trim() || name.length > 100) throw Error(`the name of group ${key} is no text of 1 to 100 letters`);
  }
  return Object.fromEntries(Object.entries(named).map(([key, name]) => [key, name.trim()]));
}
function changed() { remember(); show_names(); }

function options(select) {
  for (const code of [...cards.keys()].sort((a, b) => a - b)) {
    const option = make("option", { value: code, textContent: `group ${code}` });
    option.dataset.code = code;
    select.append(option);
  }
}
for (const [code, card] of cards) {
  const field = card.querySelector("[data-name]"), select = card.querySelector("[data-same]");
  options(select);
  select.querySelector(`[data-code="${code}"]`).remove();
  field.addEventListener("input", () => {
    const name = field.value.trim();
    if (name) given.set(code, name); else given.delete(code);
    changed();
  });
  field.addEventListener("blur", show_names);
  select.addEventListener("change", () => {
    same.delete(code);
    if (select.value !== "") {
      const other = Number(select.value);
      if (root(other) === code) same.delete(other); // it was the same as this one: turned round
      if (root(other) !== code) {
        if (given.has(code) && !given.has(root(other))) given.set(root(other), given.get(code));
        same.set(code, root(other));
        given.delete(code);
      }
    }
    changed();
  });
  card.querySelector(".fields").hidden = false;
}

function save(content, kind, name) {
  const link = make("a", { href: URL.createObjectURL(new Blob([content], { type: kind })), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}
const quoted = text => `"${String(text).replaceAll('"', '""')}"`;
const share = millionths => (millionths / 1e6).toFixed(6);
find("save-table").addEventListener("click", async () => {
  const found = await table();
  if (!found) { find("naming-status").textContent = "This browser cannot unpack the table; python -m fastgan.cluster writes it."; return; }
  const heads = [data.first, "class", "confidence", "second_class", "second_confidence", "name"];
  const lines = [heads.map(quoted).join(",")];
  for (let i = 0; i < found.code.length; i++) {
    const image = data.first === "path" ? quoted(data.folder + found.name[i]) : i;
    lines.push([image, found.code[i], share(found.sure[i]), found.second[i], share(found.also[i]), quoted(name_of(found.code[i]))].join(","));
  }
  save(lines.join("\n") + "\n", "text/csv", "assignments.csv");
});
find("save-names").addEventListener("click", () => {
  save(JSON.stringify({ classes: data.classes, names: names() }, null, 2) + "\n", "application/json", "names.json");
});
find("load-names").addEventListener("change", async event => {
  const [file] = event.target.files;
  event.target.value = "";
  if (!file) return;
  try {
    set_names(check_names(JSON.parse(await file.text())));
    changed();
  } catch (error) {
    find("naming-status").textContent = `${file.name} cannot be used: ${error.message}.`;
  }
});
find("forget-names").addEventListener("click", () => { given.clear(); same.clear(); changed(); });
try { set_names(check_names({ names: JSON.parse(localStorage.getItem(data.key) ?? "{}") })); } catch { /* nothing kept, or damaged */ }

// Sort and filter.
const home = find("groups"), by_share = [...cards.values()];
const middle = key => [...by_share].map(card => Number(card.dataset[key])).sort((a, b) => a - b)[(by_share.length - 1) >> 1];
const SORT = {
  share: (a, b) => by_share.indexOf(a) - by_share.indexOf(b),
  number: (a, b) => a.dataset.number - b.dataset.number,
  unsure: (a, b) => a.dataset.sure - b.dataset.sure,
  name: (a, b) => (name_of(Number(a.dataset.number)) || "\uffff").localeCompare(name_of(Number(b.dataset.number)) || "\uffff") || a.dataset.number - b.dataset.number,
};
const SHOW = {
  all: () => true,
  unsure: card => Number(card.dataset.sure) <= middle("sure"),
  small: card => Number(card.dataset.share) <= middle("share"),
  unnamed: card => !name_of(Number(card.dataset.number)),
};
async function arrange() {
  const wanted = find("find").value.trim().toLowerCase();
  home.append(...[...by_share].sort(SORT[find("sort").value]));
  const files = new Map();
  let count = 0;
  if (wanted.length > 1 && data.first === "path") {
    const found = await table();
    found?.name.forEach((name, i) => {
      if (name.toLowerCase().includes(wanted)) { files.set(found.code[i], (files.get(found.code[i]) ?? 0) + 1); count++; }
    });
  }
  if (wanted !== find("find").value.trim().toLowerCase()) return; // typed on meanwhile
  let shown = 0;
  for (const [code, card] of cards) {
    const title = card.querySelector("h3").textContent.toLowerCase();
    const hit = !wanted || String(code) === wanted || (!/^\d+$/.test(wanted) && title.includes(wanted)) || files.has(code);
    card.hidden = !(hit && SHOW[find("show").value](card));
    shown += !card.hidden;
  }
  const where = [...files.keys()].sort((a, b) => a - b).join(", ");
  find("found").textContent = (shown === cards.size && !wanted ? "" : `${shown} of ${cards.size} groups`)
    + (count ? `; ${count} ${count === 1 ? "file" : "files"} of this name, in ${files.size === 1 ? "group" : "groups"} ${where}` : "");
}
find("sort").addEventListener("change", arrange);
find("show").addEventListener("change", arrange);
find("find").addEventListener("input", arrange);
for (const link of all('a[href^="#group-"]')) {
  link.addEventListener("click", () => { document.querySelector(link.getAttribute("href"))?.removeAttribute("hidden"); });
}
