// Two texts told apart by words: the same parts that muscle_gov/diff.py finds, made when a flip is opened.
"use strict";
const wordDiff = (() => {
  const MOST_WORK = 200000;
  const LEAST_IN_COMMON = 0.2;
  const EAST_ASIAN = "\\u3040-\\u30ff\\u3400-\\u9fff\\uac00-\\ud7af";
  const LETTER = `(?![${EAST_ASIAN}])[\\p{L}\\p{Nl}\\p{No}_]`;
  const WORD = new RegExp(`\\p{Nd}+(?:[.,]\\p{Nd}+)*\\s*|[${EAST_ASIAN}]\\s*|(?:${LETTER})+\\s*|\\S\\s*|\\s+`, "gu");
  const LINE = /[^\n]*\n|[^\n]+/g;

  const length = (text) => { let n = 0; for (const _ of text) n += 1; return n; };

  function common(a, b) {
    const most = Math.min(a.length, b.length);
    let n = 0;
    while (n < most && a[n] === b[n]) n += 1;
    return n;
  }

  // pairs of equal words, which is what the time grows with
  function work(a, b) {
    const inB = new Map();
    for (const word of b) inB.set(word, (inB.get(word) ?? 0) + 1);
    return a.reduce((sum, word) => sum + (inB.get(word) ?? 0), 0);
  }

  // the longest run that both hold, the first of equal ones (Ratcliff and Obershelp)
  function longest(a, places, [a0, a1, b0, b1]) {
    let best = [a0, b0, 0];
    let before = new Map();
    for (let i = a0; i < a1; i += 1) {
      const here = new Map();
      for (const j of places.get(a[i]) ?? []) {
        if (j < b0) continue;
        if (j >= b1) break;
        const n = (before.get(j - 1) ?? 0) + 1;
        here.set(j, n);
        if (n > best[2]) best = [i - n + 1, j - n + 1, n];
      }
      before = here;
    }
    return best;
  }

  // [start in a, start in b, words] of all that both share, in order, neighbours joined
  function matches(a, b) {
    const places = new Map();
    b.forEach((word, j) => places.has(word) ? places.get(word).push(j) : places.set(word, [j]));
    const open = [[0, a.length, 0, b.length]];
    const found = [];
    while (open.length) {
      const [a0, a1, b0, b1] = open.pop();
      const [i, j, n] = longest(a, places, [a0, a1, b0, b1]);
      if (!n) continue;
      found.push([i, j, n]);
      if (a0 < i && b0 < j) open.push([a0, i, b0, j]);
      if (i + n < a1 && j + n < b1) open.push([i + n, a1, j + n, b1]);
    }
    found.sort((x, y) => x[0] - y[0] || x[1] - y[1]);
    const joined = [];
    for (const [i, j, n] of found) {
      const last = joined[joined.length - 1];
      if (last && last[0] + last[2] === i && last[1] + last[2] === j) last[2] += n;
      else joined.push([i, j, n]);
    }
    joined.push([a.length, b.length, 0]);
    return joined;
  }

  function middle(a, b, ends) {
    const parts = [];
    const ours = a.join("");
    const theirs = b.join("");
    let shared = length(ends[0]) + length(ends[1]);
    const most = shared + Math.max(length(ours), length(theirs));
    let [i, j] = [0, 0];
    for (const [a0, b0, n] of matches(a, b)) {
      if (a0 > i || b0 > j) parts.push(["-", a.slice(i, a0).join("")], ["+", b.slice(j, b0).join("")]);
      const same = a.slice(a0, a0 + n).join("");
      [i, j] = [a0 + n, b0 + n];
      if (!n) continue;
      if (length(same.trim()) > 2) {
        shared += length(same);
        parts.push(["=", same]);
      } else {
        parts.push(["-", same], ["+", b.slice(b0, b0 + n).join("")]);
      }
    }
    return shared < LEAST_IN_COMMON * most ? [["-", ours], ["+", theirs]] : parts;
  }

  // a change and what follows it; white space behind both sides of it did not change
  function change(gone, came, shared) {
    const spaces = [gone, came].map((side) => side.length - side.trimEnd().length);
    let same = 0;
    while (same < Math.min(...spaces) && gone.at(-1 - same) === came.at(-1 - same)) same += 1;
    if (same) {
      shared = gone.slice(gone.length - same) + shared;
      [gone, came] = [gone.slice(0, -same), came.slice(0, -same)];
    }
    return [["-", gone], ["+", came], ["=", shared]].filter(([, text]) => text);
  }

  function joined(parts) {
    const found = [];
    let [gone, came, shared] = ["", "", ""];
    for (const [mark, text] of [...parts, ["-", ""]]) {
      if (mark === "=") {
        shared += text;
        continue;
      }
      if (shared) {
        found.push(...change(gone, came, shared));
        [gone, came, shared] = ["", "", ""];
      }
      if (mark === "-") gone += text;
      else came += text;
    }
    return [...found, ...change(gone, came, shared)];
  }

  // [mark, text] with "=" for both, "-" only old, "+" only new
  return (old, now) => {
    if (old === now) return old ? [["=", old]] : [];
    for (const pattern of [WORD, LINE]) {
      const [a, b] = [old.match(pattern) ?? [], now.match(pattern) ?? []];
      const start = common(a, b);
      const end = common(a.slice(start).reverse(), b.slice(start).reverse());
      const [ours, theirs] = [a.slice(start, a.length - end), b.slice(start, b.length - end)];
      if (work(ours, theirs) <= MOST_WORK) {
        const ends = [a.slice(0, start).join(""), a.slice(a.length - end).join("")];
        return joined([["=", ends[0]], ...middle(ours, theirs, ends), ["=", ends[1]]]);
      }
    }
    return joined([["-", old], ["+", now]]);
  };
})();
