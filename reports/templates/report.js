// The list of flips: filters, orders, pages, keys, the address. All text reaches the page as text nodes,
// never as markup; the page's own first flips and this script fill one and the same template.
const showFlips = (packed) => {
  const { data, flips } = readFlips(packed);
  const byId = new Map(flips.map((flip) => [flip.id, flip]));
  const find = (id) => document.getElementById(id);
  const list = find("flip-list");
  // what a closed flip does not show is made when it is opened
  const closed = find("flip-template").content.firstElementChild;
  const inside = document.createDocumentFragment();
  inside.append(...closed.querySelector(".body").childNodes);
  const inputs = { suite: find("f-suite"), kind: find("f-kind"), slice: find("f-slice"),
    text: find("f-text"), sort: find("f-sort") };
  const WAIT = 80; // milliseconds without a key before a text is searched
  let shown = flips;
  let page = 0;

  // ---------------------------------------------------------------------------------- one flip

  function marked(parts, side) {
    const other = side === "old" ? "+" : "-";
    return parts.filter(([mark]) => mark !== other).map(([mark, text]) => {
      if (mark === "=") return document.createTextNode(text);
      const change = document.createElement(side === "old" ? "del" : "ins");
      change.textContent = text;
      return change;
    });
  }

  function fill(root, texts, visible) {
    for (const slot of root.querySelectorAll("[data-slot]")) {
      const name = slot.dataset.slot;
      if (name in texts) {
        const text = texts[name];
        if (Array.isArray(text)) slot.replaceChildren(...text);
        else slot.textContent = text ?? "";
      }
      if (name in visible) slot.hidden = !visible[name];
    }
  }

  function build(flip) {
    const item = closed.cloneNode(true);
    const [sign, title] = data.kinds[flip.kind];
    const [before, after] = flip.answers;
    item.querySelector("details").dataset.kind = flip.kind;
    item.querySelector(".body").id = flip.id;
    fill(item, { sign, title, key: flip.key, suite: flip.suite, before: before ?? "–", after: after ?? "–",
      target: flip.target, gist: flip.gist }, { expected: flip.target, waived_badge: flip.waived });
    return item;
  }

  function buildBody(flip) {
    const body = inside.cloneNode(true);
    const [before, after] = flip.answers;
    const [oldNote, newNote] = flip.notes;
    const outputs = wordDiff(...flip.outputs);
    const prompts = flip.prompts ? wordDiff(...flip.prompts) : [];
    const texts = { said: flip.said, old_again: before ?? "–", new_again: after ?? "–",
      target_again: flip.target, waived_why: flip.waived, scores: `score ${(flip.scoreTexts ?? []).join(" → ")}`,
      margins: `margin ${flip.margins} nats`, prompt: flip.prompt, old_note: oldNote, new_note: newNote,
      old_output: marked(outputs, "old"), new_output: marked(outputs, "new"),
      old_prompt: marked(prompts, "old"), new_prompt: marked(prompts, "new"),
      tags: flip.tags.map((tag) => {
        const name = document.createElement("bdi");
        name.textContent = tag;
        return name;
      }) };
    const visible = { target_block: flip.target, waived: flip.waived, scores: flip.scoreTexts,
      margins: flip.margins, prompt_block: flip.prompt !== null, prompts_block: flip.prompts,
      old_answer: flip.said, new_answer: flip.said, old_note: oldNote, new_note: newNote,
      old_output: !oldNote, new_output: !newNote };
    fill(body, texts, visible);
    body.querySelector('[data-slot="link"]').setAttribute("href", `#${flip.id}`);
    offerActs(body);
    return body;
  }

  const offerActs = (root) => root.querySelectorAll("[data-act]").forEach((act) => { act.hidden = false; });

  function complete(details) {
    const body = details.querySelector(".body");
    if (!body.firstElementChild) body.append(buildBody(byId.get(body.id)));
  }

  function open(details, wanted = true) {
    if (wanted) complete(details);
    details.open = wanted;
  }

  // ---------------------------------------------------------------------------------- the list

  const alphabet = new Intl.Collator("en", { numeric: true });
  const suiteRank = new Map(data.suites.map((name, number) => [name, number])
    .sort(([a], [b]) => alphabet.compare(a, b)).map(([, number], rank) => [number, rank]));
  const ORDERS = {
    "": () => flips,
    margin: () => sorted((a, b) => (a.fall === b.fall ? 0 : b.fall - a.fall)),
    suite: () => sorted((a, b) => suiteRank.get(a.suiteNumber) - suiteRank.get(b.suiteNumber)),
    key: () => sorted((a, b) => alphabet.compare(a.key, b.key)),
    length: () => sorted((a, b) => b.length - a.length),
  };
  const orders = new Map(); // each made once; what is filtered keeps its order
  const sorted = (compare) => [...flips].sort((a, b) => compare(a, b) || a.place - b.place);

  function inOrder(name) {
    const known = name in ORDERS ? name : "";
    if (!orders.has(known)) orders.set(known, ORDERS[known]());
    return orders.get(known);
  }

  const values = () => Object.fromEntries(Object.entries(inputs).map(([name, input]) => [name, input.value]));

  function choose() {
    const { suite, kind, slice, text, sort } = values();
    const needle = text.trim().toLowerCase();
    const suiteNumber = data.suites.indexOf(suite);
    const sliceNumber = data.tags.indexOf(slice);
    shown = inOrder(sort).filter((flip) => (!suite || flip.suiteNumber === suiteNumber)
      && (!kind || flip.kind === kind) && (!slice || flip.tagNumbers.includes(sliceNumber))
      && (!needle || flip.haystack.includes(needle)));
  }

  const number = (n) => n.toLocaleString("en");
  const say = (text) => { find("f-said").textContent = text; };

  function draw() {
    const first = page * data.page;
    const some = shown.slice(first, first + data.page);
    list.replaceChildren(...some.map(build));
    tell(first, some.length);
  }

  function tell(first, n) {
    list.setAttribute("start", String(first + 1));
    const match = shown.length === flips.length ? "" : ` that match, of ${number(flips.length)} on this page`;
    find("flip-count").textContent = n
      ? `Shown: ${number(first + 1)} to ${number(first + n)} of ${number(shown.length)}${match}.`
      : "No flip on this page matches.";
    find("f-back").disabled = page === 0;
    find("f-next").disabled = first + data.page >= shown.length;
    find("f-csv").disabled = find("f-json").disabled = !n;
    find("f-pages").hidden = !n;
  }

  function refresh() {
    page = 0;
    choose();
    draw();
    const wanted = Object.entries(values()).filter(([, value]) => value);
    const address = wanted.length ? `#flips?${new URLSearchParams(wanted)}` : "#flips";
    say("");
    history.replaceState(null, "", address);
  }

  // what is searched is made a few hundred at a time while the first letter is awaited
  function prepare(from = 0) {
    flips.slice(from, from + 500).forEach((flip) => flip.haystack);
    if (from + 500 < flips.length) setTimeout(() => prepare(from + 500));
  }

  let waiting = 0;
  function refreshSoon() {
    clearTimeout(waiting);
    waiting = setTimeout(refresh, WAIT);
  }

  function clear() {
    clearTimeout(waiting);
    for (const input of Object.values(inputs)) input.value = "";
  }

  const summaries = () => [...list.querySelectorAll("summary")];

  function turn(by, last = false) {
    const next = page + by;
    if (next < 0 || next * data.page >= shown.length) return;
    page = next;
    draw();
    focusOn(last ? summaries().at(-1) : summaries()[0], "start");
  }

  function focusOn(summary, block = "nearest") {
    if (!summary) return;
    summary.focus({ preventScroll: true });
    summary.scrollIntoView({ block });
  }

  // ------------------------------------------------------------------------------- the address

  // #flip-… opens one flip; #flips?suite=…&kind=…&slice=…&text=…&sort=… filters
  function follow() {
    const fragment = location.hash.slice(1);
    if (fragment.startsWith("flips?")) {
      filterBy(new URLSearchParams(fragment.slice(6)));
      find("flips").scrollIntoView();
    } else if (byId.has(fragment)) {
      say("");
      reveal(byId.get(fragment));
    } else if (fragment.startsWith("flip-") && !find(fragment)) {
      say("This flip is not on this page; muscle-gov flips lists all.");
      find("flips").scrollIntoView();
    }
  }

  function filterBy(wanted) {
    const unknown = [...wanted.keys()].some((name) => !Object.hasOwn(inputs, name)) ? ["filter"] : [];
    clear();
    for (const [name, input] of Object.entries(inputs)) {
      input.value = wanted.get(name) ?? "";
      if (input.selectedIndex < 0) { // a choice that the page does not offer
        unknown.push(name === "sort" ? "order" : name);
        input.value = "";
      }
    }
    page = 0;
    choose();
    draw();
    say(unknown.length ? `This page lacks what the address asks for (${unknown.join(", ")}); that is left out.` : "");
  }

  function reveal(flip) {
    if (!shown.includes(flip)) {
      clear();
      choose();
    }
    page = Math.floor(shown.indexOf(flip) / data.page);
    draw();
    const details = find(flip.id).closest("details");
    open(details);
    focusOn(details.querySelector("summary"), "start");
  }

  // ---------------------------------------------------------------------------- copying, saving

  async function act(what, flip) {
    const link = `${location.href.split("#")[0]}#${flip.id}`;
    const text = what === "link" ? link : what === "tsv" ? flipTable.tsv(flip) : flipTable.json(flip.row);
    const done = await copyText(text);
    const name = { link: "the link", tsv: "the row", json: "the row as JSON" }[what];
    say(done ? `Copied ${name} of ${flip.key}.`
      : `This browser does not let a page copy; ${name} of ${flip.key} was not copied.`);
  }

  function save(suffix, type, text) {
    const name = `flips-${data.comparison.replace(/[^\w.-]+/g, "-")}.${suffix}`;
    saveText(name, type, text);
    say(`Saved ${number(shown.length)} flip${shown.length === 1 ? "" : "s"} to ${name}.`);
  }

  function saveJson() {
    const filter = Object.fromEntries(Object.entries(values()).filter(([, value]) => value));
    const rows = shown.map((flip) => flip.row);
    save("json", "application/json", flipTable.json({ comparison: data.comparison, filter, flips: rows }));
  }

  // -------------------------------------------------------------------------------------- keys

  function step(by) {
    const all = summaries();
    const here = all.findIndex((summary) => summary.parentElement.contains(document.activeElement));
    if (here < 0) focusOn(by > 0 ? all[0] : all.at(-1));
    else if (all[here + by]) focusOn(all[here + by]);
    else turn(by, by < 0);
  }

  const KEYS = {
    j: () => step(1),
    k: () => step(-1),
    "[": () => turn(-1),
    "]": () => turn(1),
    "/": () => inputs.text.focus(),
    "?": () => find("f-keys").showModal(),
  };
  const IN_LIST = { ArrowDown: KEYS.j, ArrowUp: KEYS.k };

  function press(event) {
    const { target, key } = event;
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || event.isComposing) return;
    if (target.closest("input, select, textarea, [contenteditable], dialog")) return;
    const arrow = target.matches("summary") && list.contains(target) ? IN_LIST[key] : undefined;
    const does = arrow ?? (find("f-keys-on").checked && Object.hasOwn(KEYS, key) ? KEYS[key] : undefined);
    if (!does) return;
    event.preventDefault();
    does();
  }

  // ------------------------------------------------------------------------------------- start

  function offer(input, names, titles = {}) {
    for (const name of names) input.add(new Option(titles[name] ?? name, name));
  }

  // a tag with hundreds of values (an author, a date) slices nothing
  function selectable(tags) {
    const sizes = new Map();
    const tagOf = (slice) => slice.slice(0, slice.indexOf("="));
    tags.forEach((slice) => sizes.set(tagOf(slice), (sizes.get(tagOf(slice)) ?? 0) + 1));
    return tags.filter((slice) => sizes.get(tagOf(slice)) <= 300).sort(alphabet.compare);
  }

  offer(inputs.suite, [...data.suites].sort(alphabet.compare));
  const titles = Object.fromEntries(Object.entries(data.kinds).map(([name, [sign, title]]) =>
    [name, `${sign} ${title}`]));
  offer(inputs.kind, Object.keys(data.kinds).filter((_, n) => data.kind.includes(String(n))), titles);
  const slices = selectable(data.tags);
  offer(inputs.slice, slices);
  document.querySelector(".if-sliced").hidden = !slices.length;
  document.querySelector(".filters").hidden = find("f-tools").hidden = false;
  for (const [name, input] of Object.entries(inputs)) {
    input.addEventListener("input", name === "text" ? refreshSoon : refresh);
  }
  inputs.text.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.isComposing) return;
    clearTimeout(waiting);
    refresh();
    focusOn(summaries()[0]);
  });
  inputs.text.addEventListener("focus", () => prepare(), { once: true });
  find("f-clear").addEventListener("click", () => {
    clear();
    refresh();
    inputs.suite.focus();
  });
  find("f-back").addEventListener("click", () => turn(-1));
  find("f-next").addEventListener("click", () => turn(1));
  find("f-open").addEventListener("click", () => {
    const all = [...list.querySelectorAll("details")];
    const opening = all.some((details) => !details.open);
    all.forEach((details) => open(details, opening));
  });
  find("f-csv").addEventListener("click", () => save("csv", "text/csv;charset=utf-8", flipTable.csv(shown)));
  find("f-json").addEventListener("click", saveJson);
  find("f-help").addEventListener("click", KEYS["?"]);
  find("f-keys-close").addEventListener("click", () => find("f-keys").close());
  list.addEventListener("click", (event) => {
    const button = event.target.closest("[data-act]");
    if (button) act(button.dataset.act, byId.get(button.closest(".body").id));
    const summary = event.target.closest("summary");
    if (summary) complete(summary.parentElement);
  });
  // a browser may open one by itself, to show what was searched for
  list.addEventListener("toggle", (event) => { if (event.target.open) complete(event.target); }, true);
  for (const link of document.querySelectorAll("a.to-flips")) {
    const wanted = { suite: link.dataset.suite, slice: link.dataset.slice };
    if (slices.includes(wanted.slice) && data.suites.includes(wanted.suite)) {
      link.setAttribute("href", `#flips?${new URLSearchParams(wanted)}`);
    }
  }
  addEventListener("keydown", press);
  addEventListener("hashchange", follow);
  offerActs(list);
  tell(0, list.children.length);
  follow();
  // a browser that is still loading goes to the address by itself at the end, and takes the focus along
  if (document.readyState !== "complete") addEventListener("load", () => setTimeout(follow), { once: true });
};

// folded tables are part of what is printed; the flips stay as the reader left them
(() => {
  let opened = [];
  addEventListener("beforeprint", () => {
    opened = [...document.querySelectorAll("details.fold:not([open])")];
    opened.forEach((details) => { details.open = true; });
  });
  addEventListener("afterprint", () => { opened.forEach((details) => { details.open = false; }); });
  const source = document.getElementById("flip-data");
  if (source) {
    unpack(source).then(showFlips).catch((error) => {
      document.getElementById("flip-count").textContent = `Only the first flips are shown: this browser cannot `
        + `read the others (${error.message}). A current one can; so can the command named above.`;
    });
  }
})();
