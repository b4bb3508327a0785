// The flips as the page holds them (muscle_gov/report/flips_packed.py writes the columns), and as rows that
// leave it: CSV, TSV and JSON. Nothing is made of a flip before it is asked for.
const unpack = async (source) => {
  if (!source.dataset.packing) return JSON.parse(source.textContent);
  const bytes = Uint8Array.from(atob(source.textContent), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream(source.dataset.packing));
  return new Response(stream).json();
};

const readFlips = (data) => {
  const SAID = ["", "Answer", "Score"];
  const NOTES = ["", "not recorded", "empty"];
  const MOST_OF_A_GIST = 160;
  const kinds = Object.keys(data.kinds);
  // numbers between two backspaces tell how many characters were left out there
  const told = (text) => text?.replace(/[\b](\d+)[\b]/g, (mark, n, at) => `${at ? "\n" : ""}[… ${
    Number(n).toLocaleString("en")} characters left out …]${at + mark.length < text.length ? "\n" : ""}`) ?? null;
  const word = (value) => told(typeof value === "number" ? data.words[value] : value);
  const columns = { size: data.sizes, old_score: data.old_scores, new_score: data.new_scores,
    old_margin: data.old_margins, new_margin: data.new_margins };

  // [shared beginning, old, new, shared end] → the two texts
  const both = (four) => (typeof four === "string" ? [told(four), told(four)]
    : [told(four[0] + four[1] + four[3]), told(four[0] + four[2] + four[3])]);

  // ends are cut by characters, never through the middle of one
  function gist(prompt) {
    const letters = [...prompt];
    const line = letters.slice(-4 * MOST_OF_A_GIST).join("").split(/\s+/u).filter(Boolean).join(" ");
    return letters.length <= MOST_OF_A_GIST ? line : `… ${[...line].slice(-MOST_OF_A_GIST).join("").trimStart()}`;
  }

  class Flip {
    constructor(place) { this.place = place; }
    get id() { return `flip-${data.id.slice(12 * this.place, 12 * this.place + 12)}`; }
    get kindNumber() { return Number(data.kind[this.place]); }
    get kind() { return kinds[this.kindNumber]; }
    get suiteNumber() { return data.suite[this.place]; }
    get suite() { return data.suites[this.suiteNumber]; }
    get key() { return data.key[this.place]; }
    get said() { return SAID[data.said[this.place]]; }
    get tagNumbers() { return data.tag[this.place]; }
    get tags() { return this.tagNumbers.map((number) => data.tags[number]); }
    get target() { return word(data.target[this.place]); }
    get waived() { return told(data.reasons[data.waived[this.place]]); }
    get outputs() { return both(data.texts[this.place][1]); }
    get notes() { return [0, 1].map((side) => NOTES[data.notes[2 * this.place + side]]); }
    get scoreTexts() { return data.scoreTexts[this.place] ?? null; }
    get asked() { return data.texts[this.place][0]; }
    get prompt() { return Array.isArray(this.asked) ? null : told(this.asked); }
    get prompts() { return Array.isArray(this.asked) ? both(this.asked) : null; }
    get gist() { return gist((this.prompts ? this.prompts[0] : this.prompt) ?? ""); }
    get answers() {
      return [data.before, data.after].map((column, side) => (column[this.place] === -1
        ? this.outputs[side] : word(column[this.place])));
    }
    figure(name) { return columns[name][this.place] ?? null; }
    get margins() {
      const [old, now] = [this.figure("old_margin"), this.figure("new_margin")];
      const text = (m) => (m === null ? "not known"
        : (m < 0 ? "\u2212" : "+") + Math.abs(m).toFixed(3));
      return old === null && now === null ? "" : `${text(old)} → ${text(now)}`;
    }
    // how far the new model was driven from the right choice; unknown comes last
    get fall() {
      const [old, now] = [this.figure("old_margin"), this.figure("new_margin")];
      return old === null || now === null ? -Infinity : old - now;
    }
    get length() {
      this.size ??= (this.prompts ?? [this.prompt ?? ""]).concat(this.outputs).join("").length;
      return this.size;
    }
    // made when first searched; both sides are searched whole
    get haystack() {
      this.hay ??= [this.key, ...this.answers, this.target, this.waived, this.prompt, ...(this.prompts ?? []),
        ...this.outputs].join("\n").toLowerCase();
      return this.hay;
    }
    // named and ordered as the columns of the CSV report; texts are those of the page
    get row() {
      const [oldAnswer, newAnswer] = this.answers;
      const [oldNote, newNote] = this.notes;
      return { suite: this.suite, key: this.key, kind: this.kind, old_answer: oldAnswer,
        new_answer: newAnswer, target: this.target, old_score: this.figure("old_score"),
        new_score: this.figure("new_score"), tags: this.tagged,
        prompt: this.prompts ? this.prompts[0] : this.prompt, new_prompt: this.prompts ? this.prompts[1] : null,
        old_output: oldNote === NOTES[1] ? null : this.outputs[0],
        new_output: newNote === NOTES[1] ? null : this.outputs[1], waived: this.waived,
        size: this.figure("size"), old_margin: this.figure("old_margin"),
        new_margin: this.figure("new_margin") };
    }
    get tagged() {
      return Object.fromEntries(this.tags.map((tag) => [tag.slice(0, tag.indexOf("=")), tag.slice(tag.indexOf("=") + 1)]));
    }
  }

  return { data, flips: Array.from({ length: data.n }, (_, place) => new Flip(place)) };
};

const flipTable = (() => {
  const NUMBER = /^[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?$/;

  // An apostrophe wherever a spreadsheet could start a formula, as in the CSV report: at the start of the
  // cell, and after each line end, semicolon and tab within.
  function defuse(text) {
    if (NUMBER.test(text.replace(/^'+/, ""))) return text;
    return text.replace(/^(?='*[=+\-@＝＋－＠\t\r\n])/, "'")
      .replace(/([;\t\r\n])(?=['"]*[=+\-@＝＋－＠])/g, "$1'");
  }

  function cell(value) {
    if (value === null || value === undefined) return "";
    if (typeof value === "number") return String(value);
    return defuse(typeof value === "string" ? value : JSON.stringify(value));
  }

  const quoted = (text) => `"${text.replaceAll('"', '""')}"`;
  const names = (flip) => Object.keys(flip.row);

  return {
    defuse,
    csv(flips) {
      const lines = flips.map((flip) => Object.values(flip.row).map((value) => quoted(cell(value))).join(","));
      const head = flips.length ? [names(flips[0]).map(quoted).join(",")] : [];
      return [...head, ...lines, ""].join("\r\n");
    },
    // one line for a spreadsheet's cells: quoted where a cell has line ends, tabs or quotes
    tsv(flip) {
      return Object.values(flip.row).map(cell)
        .map((text) => (/["\t\r\n]/.test(text) ? quoted(text) : text)).join("\t");
    },
    json: (value) => `${JSON.stringify(value, null, 1)}\n`,
  };
})();

// whether the text is in the clipboard now
async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // no permission, or a page that is not trusted to have a clipboard: as it was done before there was one
    const focused = document.activeElement;
    const field = document.createElement("textarea");
    field.value = text;
    field.className = "unseen";
    document.body.append(field);
    field.select();
    const done = document.execCommand("copy");
    field.remove();
    if (focused) focused.focus({ preventScroll: true });
    return done;
  }
}

function saveText(name, type, text) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}
