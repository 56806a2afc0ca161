// The page's script: the switch of colours, tables to sort and to filter, texts to copy, and the timeline. It loads
// nothing; all that it shows of a container goes into the page as text, never as markup.
"use strict";

const byId = (id) => document.getElementById(id);

/** An element with that text, and these after it. */
function make(name, text, ...inside) {
  const element = document.createElement(name);
  if (text) element.textContent = text;
  element.append(...inside);
  return element;
}

// ---- Light and dark.

const theme = byId("theme");
theme.hidden = false;
const darkSystem = matchMedia("(prefers-color-scheme: dark)");
theme.addEventListener("click", () => {
  const root = document.documentElement;
  const dark = (root.dataset.theme ?? (darkSystem.matches ? "dark" : "light")) === "dark";
  root.dataset.theme = dark ? "light" : "dark";
  document.dispatchEvent(new Event("colours"));
});
// On paper it is light: what is drawn has to be drawn again.
let screenTheme;
addEventListener("beforeprint", () => {
  screenTheme = document.documentElement.dataset.theme;
  document.documentElement.dataset.theme = "light";
  for (const details of document.querySelectorAll("details.rest")) details.open = true;
  document.dispatchEvent(new Event("colours"));
});
addEventListener("afterprint", () => {
  if (screenTheme) document.documentElement.dataset.theme = screenTheme;
  else delete document.documentElement.dataset.theme;
  document.dispatchEvent(new Event("colours"));
});
darkSystem.addEventListener("change", () => document.dispatchEvent(new Event("colours")));

// ---- Tables.

for (const table of document.querySelectorAll("table")) {
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = make("button", head.textContent);
    button.type = "button";
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const numeric = head.classList.contains("n");
      const first = numeric ? "descending" : "ascending";
      const order = head.ariaSort === first ? (numeric ? "ascending" : "descending") : first;
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.ariaSort = order;
      const sign = order === "ascending" ? 1 : -1;
      const key = (row) => {
        const cell = row.cells[column];
        return cell.dataset.v === undefined ? cell.textContent : Number(cell.dataset.v);
      };
      const compare = (a, b) => (typeof a === "number" ? a - b : a.localeCompare(b));
      const rows = [...body.rows].map((row) => [key(row), row]);
      rows.sort((a, b) => sign * compare(a[0], b[0]));
      body.append(...rows.map(([, row]) => row));
    });
  });
  if (body.rows.length > 12) {
    const input = make("input");
    input.type = "search";
    input.placeholder = "filter rows";
    input.ariaLabel = "filter the rows of the table";
    const told = make("span");
    input.addEventListener("input", () => {
      const wanted = input.value.toLowerCase();
      let left = 0;
      for (const row of body.rows) {
        row.hidden = !row.textContent.toLowerCase().includes(wanted);
        left += !row.hidden;
      }
      told.textContent = wanted ? `${left} of ${body.rows.length} rows` : "";
    });
    const bar = make("div", "", input, told);
    bar.className = "filter";
    table.parentElement.before(bar);
  }
}

// ---- Texts to copy.

for (const snippet of document.querySelectorAll(".snippet")) {
  const button = make("button", "copy");
  button.type = "button";
  button.addEventListener("click", async () => {
    const pre = snippet.querySelector("pre");
    try {
      await navigator.clipboard.writeText(pre.textContent.trimEnd());
      button.textContent = "copied";
    } catch {
      // Not allowed here: select it, so that one key does.
      getSelection().selectAllChildren(pre);
      button.textContent = "selected";
    }
    setTimeout(() => (button.textContent = "copy"), 1500);
  });
  snippet.append(button);
}

// ---- The timeline.

/** `1.83 µs`: three digits, and the unit. */
function duration(ns) {
  for (const [size, unit] of [[1e9, "s"], [1e6, "ms"], [1e3, "µs"]]) {
    if (ns >= size) {
      const value = ns / size;
      return `${value.toFixed(value < 10 ? 2 : value < 100 ? 1 : 0)} ${unit}`;
    }
  }
  return `${Math.round(ns)} ns`;
}

/** `+0.012345 s`: since the first event. */
const moment = (ns) => `+${(ns / 1e9).toFixed(6)} s`;

/** The bytes of a packed element. */
async function unpack(id) {
  const element = byId(id);
  const packed = Uint8Array.from(atob(element.textContent), (char) => char.charCodeAt(0));
  element.textContent = "";
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** Reads `count` LEB128 numbers from `at` on into `to`; with `rows`, each row's numbers are sums. */
function numbers(bytes, at, to, rows) {
  let row = 0;
  let left = rows ? rows[0] : Infinity;
  let sum = 0;
  for (let index = 0; index < to.length; index += 1) {
    let value = bytes[at++];
    if (value > 127) {
      value -= 128;
      let scale = 128;
      for (;;) {
        const byte = bytes[at++];
        value += (byte & 127) * scale;
        if (byte < 128) break;
        scale *= 128;
      }
    }
    if (rows) {
      while (left === 0) {
        left = rows[++row];
        sum = 0;
      }
      left -= 1;
      sum += value;
      value = sum;
    }
    to[index] = value;
  }
}

const FAN = 16;

/** A row's marks as a tree: each node stands for up to FAN nodes below it, and is what is drawn where those are too narrow. */
class Row {
  constructor(task, first, end, marks) {
    this.task = task;
    this.first = first;
    this.end = end;
    this.levels = [];
    let below = null;
    for (let count = end - first; count > 1; ) {
      count = Math.ceil(count / FAN);
      const level = {
        start: new Float64Array(count),
        end: new Float64Array(count),
        busy: new Float64Array(count),
        kind: new Uint8Array(count),
        failed: new Uint8Array(count),
      };
      const time = new Float64Array(marks.classes);
      for (let node = 0; node < count; node += 1) {
        time.fill(0);
        let start = Infinity;
        let last = 0;
        let busy = 0;
        let failed = 0;
        const to = below ? Math.min((node + 1) * FAN, below.start.length) : Math.min(first + (node + 1) * FAN, end);
        for (let at = below ? node * FAN : first + node * FAN; at < to; at += 1) {
          const nodeStart = below ? below.start[at] : marks.start[at];
          const took = below ? below.busy[at] : marks.took[at];
          start = Math.min(start, nodeStart);
          last = Math.max(last, below ? below.end[at] : nodeStart + took);
          busy += took;
          // A call without a duration counts too.
          time[below ? below.kind[at] : marks.classOf[marks.kind[at]]] += took + 1;
          failed |= below ? below.failed[at] : marks.failedOf[marks.kind[at]];
        }
        let kind = 0;
        for (let other = 1; other < time.length; other += 1) if (time[other] > time[kind]) kind = other;
        level.start[node] = start;
        level.end[node] = last;
        level.busy[node] = busy;
        level.kind[node] = kind;
        level.failed[node] = failed;
      }
      this.levels.push(level);
      below = level;
    }
  }
}

class Timeline {
  constructor(data, marks, rows) {
    this.data = data;
    this.marks = marks;
    this.rows = rows;
    this.canvas = byId("rows");
    this.overview = byId("overview");
    this.tip = byId("tip");
    this.chosen = byId("chosen");
    this.length = Math.max(data.length, 1);
    this.from = 0;
    this.to = this.length;
    this.top = 0;
    this.row = 0;
    this.mark = -1;
    let y = 0;
    for (const row of rows) {
      row.y = y;
      row.height = row.task.pid === row.task.tid ? 26 : 15;
      y += row.height;
    }
    this.height = y;
    this.failures = [];
    for (let at = 0; at < marks.start.length; at += 1) if (marks.failedOf[marks.kind[at]] > 1) this.failures.push(at);
    this.failures.sort((a, b) => marks.start[a] - marks.start[b]);
    this.density = this.countOverview();
    this.colours();
    this.unchoose();
    this.listen();
    new ResizeObserver(() => this.resize()).observe(byId("picture"));
    this.resize();
  }

  /** The legend has the colours; a canvas does not resolve variables. */
  colours() {
    const colour = (selector, property) => getComputedStyle(document.querySelector(selector))[property];
    this.classColours = Array.from({ length: this.marks.classes }, (_, at) => colour(`.swatch.c${at}`, "backgroundColor"));
    // What is written on them: black or white, whichever is farther away.
    this.textColours = this.classColours.map((rgb) => {
      const [red, green, blue] = rgb.match(/[\d.]+/g).map(Number);
      return red * 0.3 + green * 0.59 + blue * 0.11 > 130 ? "#000" : "#fff";
    });
    this.failedColour = colour(".swatch.failed", "backgroundColor");
    this.lostColour = colour(".swatch.lost", "backgroundColor");
    this.ink = colour("body", "color");
    this.soft = colour(".hint", "color");
    this.paper = colour(":root", "backgroundColor");
    this.line = colour("canvas", "borderTopColor");
    this.panel = colour("#all", "backgroundColor");
    this.link = colour("#processes summary", "color");
  }

  resize() {
    this.width = this.canvas.clientWidth;
    this.gutter = this.width < 560 ? 96 : 190;
    this.axis = 20;
    this.view = Math.min(Math.max(this.height, 40), innerHeight < 700 ? 320 : 520);
    this.ratio = devicePixelRatio || 1;
    for (const [canvas, height] of [[this.canvas, this.view + this.axis], [this.overview, 44]]) {
      canvas.style.height = `${height}px`;
      canvas.width = Math.round(canvas.clientWidth * this.ratio);
      canvas.height = Math.round(height * this.ratio);
    }
    this.redraw();
  }

  redraw() {
    if (this.pending) return;
    this.pending = true;
    requestAnimationFrame(() => {
      this.pending = false;
      const began = performance.now();
      this.draw();
      this.drawOverview();
      byId("picture").dataset.frame = (performance.now() - began).toFixed(1);
    });
  }

  x(time) {
    return this.gutter + ((time - this.from) / (this.to - this.from)) * (this.width - this.gutter);
  }

  time(x) {
    return this.from + ((x - this.gutter) / (this.width - this.gutter)) * (this.to - this.from);
  }

  /** Shows that part of the time, as far as there is any. */
  show(from, to) {
    const span = Math.min(Math.max(to - from, 20), this.length);
    this.from = Math.min(Math.max(from, 0), this.length - span);
    this.to = this.from + span;
    this.redraw();
  }

  zoom(factor, x) {
    const chosen = this.mark >= 0 ? this.marks.start[this.mark] : -1;
    const middle = chosen >= this.from && chosen <= this.to ? chosen : (this.from + this.to) / 2;
    const at = x === undefined || x < this.gutter ? middle : this.time(x);
    this.show(at - (at - this.from) * factor, at + (this.to - at) * factor);
  }

  pan(share) {
    const by = share * (this.to - this.from);
    this.show(this.from + by, this.to + by);
  }

  scroll(by) {
    this.top = Math.min(Math.max(this.top + by, 0), Math.max(this.height - this.view, 0));
    this.redraw();
  }

  // -- Drawing.

  draw() {
    const context = this.canvas.getContext("2d");
    context.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
    context.fillStyle = this.paper;
    context.fillRect(0, 0, this.width, this.view + this.axis);
    this.font = getComputedStyle(document.body).fontFamily;
    context.save();
    context.beginPath();
    context.rect(0, this.axis, this.width, this.view);
    context.clip();
    context.translate(0, this.axis - this.top);
    for (const row of this.rows) {
      if (row.y + row.height < this.top || row.y > this.top + this.view) continue;
      this.drawRow(context, row);
    }
    context.restore();
    this.drawMoments(context);
    this.drawAxis(context);
    if (this.height > this.view) {
      const bar = Math.max((this.view * this.view) / this.height, 16);
      const at = (this.top / (this.height - this.view)) * (this.view - bar);
      context.fillStyle = this.soft;
      context.globalAlpha = 0.5;
      context.fillRect(this.width - 5, this.axis + at, 4, bar);
      context.globalAlpha = 1;
    }
  }

  drawRow(context, row) {
    const { task } = row;
    const process = task.pid === task.tid;
    const high = process ? 12 : 9;
    const y = row.y + row.height - high - 2;
    if (this.rows[this.row] === row) {
      context.fillStyle = this.panel;
      context.fillRect(0, row.y, this.width, row.height);
    }
    context.fillStyle = this.line;
    context.fillRect(0, row.y + row.height - 1, this.width, 1);
    context.save();
    context.beginPath();
    context.rect(this.gutter, row.y, this.width - this.gutter, row.height);
    context.clip();
    const [left, right] = [this.x(task.from), this.x(task.to)];
    context.fillRect(left, y + high / 2 - 1, Math.max(right - left, 1), 2);
    if (task.made) context.fillRect(left, y, 1, high);
    if (task.exit !== null) context.fillRect(right, y, 1, high);
    this.drawMarks(context, row, y, high);
    context.font = `11px ${this.font}`;
    context.textBaseline = "alphabetic";
    task.programs.forEach(([at, path], number) => {
      const x = this.x(at);
      context.fillStyle = this.ink;
      context.fillRect(x, row.y + 2, 1, row.height - 4);
      // A program that began before what is shown still runs; one that was soon replaced has no room for its name.
      const begin = Math.max(x, this.gutter) + 3;
      const next = task.programs[number + 1];
      const room = Math.min(next ? this.x(next[0]) : Infinity, this.width) - begin - 4;
      if (process && room > 20) {
        context.fillText(fit(context, path.slice(path.lastIndexOf("/") + 1), room), begin, row.y + 10);
      }
    });
    context.restore();
    context.font = `${process ? 12 : 11}px ${this.font}`;
    context.textBaseline = "middle";
    const indent = 6 + Math.min(task.depth, 6) * (this.gutter < 120 ? 6 : 11);
    context.fillStyle = this.soft;
    const number = String(task.tid);
    context.fillText(number, indent, row.y + row.height / 2);
    context.fillStyle = process ? this.ink : this.soft;
    const at = indent + context.measureText(number).width + 6;
    context.fillText(fit(context, task.name, this.gutter - at - 8), at, row.y + row.height / 2);
  }

  drawMarks(context, row, y, high) {
    const { marks } = this;
    const { from, to } = this;
    const scale = (this.width - this.gutter) / (to - from);
    const zero = this.gutter - from * scale;
    let painted = -1;
    let flagged = -100;
    const paint = (start, end, kind, share, failed) => {
      const x = Math.max(zero + start * scale, this.gutter);
      const wide = Math.max(Math.min(zero + end * scale, this.width) - x, 1);
      const pixel = Math.floor(x);
      if (wide > 1 || pixel !== painted) {
        painted = pixel;
        context.globalAlpha = wide > 1.5 ? 1 : 0.45 + 0.55 * share;
        context.fillStyle = this.classColours[kind];
        context.fillRect(x, y, wide, high);
      }
      if (failed && pixel !== flagged) {
        context.globalAlpha = failed > 1 ? 1 : 0.6;
        context.fillStyle = this.failedColour;
        const middle = Math.min(x + wide / 2, x + 4);
        // Where they are many, not each has room for its shape.
        if (failed > 1 && pixel - flagged > 6) {
          flagged = pixel;
          context.beginPath();
          context.moveTo(middle - 3, y - 3);
          context.lineTo(middle + 3, y - 3);
          context.lineTo(middle, y + 3);
          context.fill();
          context.fillRect(middle - 0.5, y, 1, high);
        } else {
          context.fillRect(middle - 0.5, y - 3, 1, 3);
        }
      }
    };
    context.font = `10px ${this.font}`;
    context.textBaseline = "middle";
    const name = (start, end, kind) => {
      const left = Math.max(zero + start * scale, this.gutter) + 5;
      const text = fit(context, this.data.kinds[kind][0], Math.min(zero + end * scale, this.width) - left - 3);
      context.globalAlpha = 1;
      context.fillStyle = this.textColours[marks.classOf[kind]];
      context.fillText(text, left, y + high / 2 + 0.5);
    };
    const visit = (depth, node) => {
      if (depth < 0) {
        const start = marks.start[node];
        const end = start + marks.took[node];
        if (end < from || start > to) return;
        const kind = marks.kind[node];
        paint(start, end, marks.classOf[kind], 1, marks.failedOf[kind]);
        if ((end - start) * scale > 44 && high > 10) name(start, end, kind);
        return;
      }
      const level = row.levels[depth];
      const start = level.start[node];
      const end = level.end[node];
      if (end < from || start > to) return;
      if ((end - start) * scale <= 1) {
        paint(start, end, level.kind[node], Math.min(level.busy[node] / (end - start || 1), 1), level.failed[node]);
        return;
      }
      const count = depth > 0 ? row.levels[depth - 1].start.length : row.end;
      const first = depth > 0 ? node * FAN : row.first + node * FAN;
      const last = Math.min(first + FAN, count);
      for (let at = first; at < last; at += 1) visit(depth - 1, at);
    };
    if (row.levels.length > 0) visit(row.levels.length - 1, 0);
    else if (row.end > row.first) visit(-1, row.first);
    context.globalAlpha = 1;
    if (this.mark >= row.first && this.mark < row.end) {
      const x = this.x(marks.start[this.mark]);
      context.strokeStyle = this.ink;
      context.lineWidth = 2;
      context.strokeRect(x - 1, y - 1, Math.max(marks.took[this.mark] * scale, 1) + 2, high + 2);
    }
  }

  drawMoments(context) {
    context.save();
    context.beginPath();
    context.rect(this.gutter, 0, this.width - this.gutter, this.view + this.axis);
    context.clip();
    context.font = `11px ${this.font}`;
    context.textBaseline = "middle";
    for (const [at] of this.data.losses) {
      const x = this.x(at);
      context.fillStyle = this.lostColour;
      for (let y = this.axis; y < this.axis + this.view; y += 6) context.fillRect(x - 1, y, 2, 3);
      context.fillRect(x - 3, this.axis - 4, 6, 4);
    }
    context.setLineDash([3, 3]);
    context.lineWidth = 1;
    context.strokeStyle = this.soft;
    for (const [at] of this.data.moments) {
      const x = Math.round(this.x(at)) + 0.5;
      context.beginPath();
      context.moveTo(x, this.axis);
      context.lineTo(x, this.axis + this.view);
      context.stroke();
    }
    context.restore();
  }

  drawAxis(context) {
    const span = this.to - this.from;
    const wanted = span / Math.max((this.width - this.gutter) / 110, 1);
    const power = 10 ** Math.floor(Math.log10(wanted));
    const step = [1, 2, 5, 10].find((times) => times * power >= wanted) * power;
    const unit = [[1e9, "s"], [1e6, "ms"], [1e3, "µs"], [1, "ns"]].find(([size]) => this.to >= size && step >= size / 1e3);
    const [size, name] = unit ?? [1, "ns"];
    const digits = Math.max(0, Math.ceil(-Math.log10(step / size) - 1e-9));
    context.fillStyle = this.paper;
    context.fillRect(0, 0, this.gutter, this.axis);
    context.fillStyle = this.line;
    context.fillRect(0, this.axis - 1, this.width, 1);
    context.fillRect(this.gutter - 1, 0, 1, this.axis + this.view);
    context.font = `11px ${this.font}`;
    context.textBaseline = "middle";
    context.fillStyle = this.soft;
    context.fillText(fit(context, `${duration(span)} shown`, this.gutter - 12), 6, this.axis / 2);
    for (let at = Math.ceil(this.from / step) * step; at <= this.to; at += step) {
      const x = this.x(at);
      context.fillRect(x, this.axis - 5, 1, 4);
      const text = `+${(at / size).toFixed(digits)} ${name}`;
      if (x + context.measureText(text).width + 6 < this.width) context.fillText(text, x + 4, this.axis / 2);
    }
  }

  /** Calls and failures by 2000ths of the time. */
  countOverview() {
    const density = new Float64Array(2000);
    const { start, took, count } = this.marks;
    const scale = density.length / this.length;
    for (let at = 0; at < start.length; at += 1) {
      density[Math.min(Math.floor((start[at] + took[at] / 2) * scale), density.length - 1)] += count[at] + 1;
    }
    return density;
  }

  drawOverview() {
    const { overview, density } = this;
    const context = overview.getContext("2d");
    const [wide, high] = [overview.clientWidth, 44];
    context.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
    context.fillStyle = this.panel;
    context.fillRect(0, 0, wide, high);
    const most = Math.sqrt(density.reduce((a, b) => Math.max(a, b), 1));
    const columns = Math.min(Math.floor(wide), density.length);
    context.fillStyle = this.soft;
    context.globalAlpha = 0.55;
    for (let column = 0; column < columns; column += 1) {
      let peak = 0;
      const to = Math.floor(((column + 1) * density.length) / columns);
      for (let at = Math.floor((column * density.length) / columns); at < to; at += 1) peak = Math.max(peak, density[at]);
      if (peak === 0) continue;
      const tall = Math.max((Math.sqrt(peak) / most) * (high - 12), 1);
      context.fillRect((column * wide) / columns, high - tall, wide / columns + 0.5, tall);
    }
    context.globalAlpha = 1;
    const at = (time) => (time / this.length) * wide;
    context.fillStyle = this.failedColour;
    let last = -2;
    for (const mark of this.failures) {
      const x = Math.floor(at(this.marks.start[mark]));
      if (x === last) continue;
      last = x;
      context.fillRect(x, 2, 1.5, 5);
    }
    context.fillStyle = this.lostColour;
    for (const [time] of this.data.losses) for (let y = 0; y < high; y += 6) context.fillRect(at(time) - 1, y, 2, 3);
    const [left, right] = [at(this.from), at(this.to)];
    context.fillStyle = this.paper;
    context.globalAlpha = 0.65;
    context.fillRect(0, 0, left, high);
    context.fillRect(right, 0, wide - right, high);
    context.globalAlpha = 1;
    context.strokeStyle = this.link;
    context.lineWidth = 1.5;
    context.strokeRect(left + 0.75, 0.75, Math.max(right - left - 1.5, 2), high - 1.5);
  }

  // -- What is pointed at.

  rowAt(y) {
    const at = y - this.axis + this.top;
    let [low, high] = [0, this.rows.length - 1];
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.rows[middle].y <= at) low = middle;
      else high = middle - 1;
    }
    return y < this.axis || low >= this.rows.length || at > this.height ? -1 : low;
  }

  /** The first mark of a row that does not begin before that time. */
  firstFrom(row, time) {
    let [low, high] = [row.first, row.end];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.marks.start[middle] < time) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** The mark nearest to a place, a failed one before others; and how many more are as near. */
  markAt(row, x) {
    const { start, took, kind, failedOf } = this.marks;
    const time = this.time(x);
    const near = (3 * (this.to - this.from)) / (this.width - this.gutter);
    let found = -1;
    let others = -1;
    // Marks of a row follow each other: only the one before may reach into this place.
    for (let at = Math.max(this.firstFrom(row, time - near) - 1, row.first); at < row.end && start[at] <= time + near; at += 1) {
      if (start[at] + took[at] < time - near) continue;
      others += 1;
      const better = found < 0 || failedOf[kind[at]] > failedOf[kind[found]] || (failedOf[kind[at]] === failedOf[kind[found]] && Math.abs(start[at] - time) < Math.abs(start[found] - time) && start[at] <= time);
      if (better) found = at;
    }
    return [found, others];
  }

  /** What is to be said of a mark, as elements. */
  tell(row, mark, others) {
    const { marks, data } = this;
    const [name, , end] = data.kinds[marks.kind[mark]];
    const { task } = row;
    const when = moment(marks.start[mark]);
    const who = `${task.name} ${task.tid === task.pid ? `pid ${task.pid}` : `tid ${task.tid} of ${task.pid}`}`;
    const took = marks.took[mark] > 0 ? `, ${duration(marks.took[mark])}` : "";
    const count = marks.count[mark] + 1;
    const said = [make("span", `${who} · ${when}${took}`)];
    if (count > 1) {
      said.push(make("code", `${count} calls, summarised; the longest: ${name}${end && ` ${end}`}`));
    } else {
      const outcome = end === "?" ? "did not return" : end === "!" ? "refused" : end;
      said.push(make("code", this.lineOf(marks.line[mark]) ?? `${name}(…)${outcome && ` = ${outcome}`}`));
    }
    if (others > 0) said.push(make("span", `${others} more at this place: zoom in`));
    return said;
  }

  /** A line by its number. */
  lineOf(number) {
    if (number === 0 || !this.lines) return undefined;
    const { bytes, ends } = this.lines;
    return new TextDecoder().decode(bytes.subarray(number > 1 ? ends[number - 2] : 0, ends[number - 1] - 1));
  }

  point(x, y) {
    const row = this.rows[this.rowAt(y)];
    const loss = this.data.losses.filter(([at]) => Math.abs(this.x(at) - x) < 4);
    const event = this.data.moments.find(([at]) => Math.abs(this.x(at) - x) < 4);
    const [mark, others] = row && x > this.gutter ? this.markAt(row, x) : [-1, 0];
    const said = mark >= 0 ? this.tell(row, mark, others) : [];
    if (row && x <= this.gutter) {
      const { task } = row;
      said.push(make("span", `${task.name} pid ${task.pid} tid ${task.tid}${task.exit ? `, ${task.exit}` : ""}`));
      for (const [at, path] of task.programs) said.push(make("code", `${moment(at)} ${path}`));
    }
    if (loss.length > 0 && x > this.gutter) {
      const count = loss.reduce((sum, [, calls]) => sum + calls, 0);
      said.push(make("span", `${count} calls lost here: ${[...new Set(loss.map(([, , why]) => why))].join(", ")}`));
    }
    if (event && x > this.gutter) said.push(make("span", `container: ${event[1]}, ${moment(event[0])}`));
    this.tip.hidden = said.length === 0;
    this.tip.replaceChildren(...said);
    if (said.length > 0) {
      const top = this.canvas.offsetTop + y + 16;
      this.tip.style.top = `${top}px`;
      this.tip.style.left = `${Math.max(Math.min(x + 12, this.width - this.tip.offsetWidth - 6), 0)}px`;
    }
    return mark;
  }

  choose(mark) {
    this.mark = mark;
    if (mark >= 0) {
      this.row = this.rows.findIndex((row) => mark >= row.first && mark < row.end);
      const row = this.rows[this.row];
      this.chosen.replaceChildren(...this.tell(row, mark, 0));
      const at = this.marks.start[mark];
      if (at < this.from || at > this.to) this.show(at - (this.to - this.from) / 2, at + (this.to - this.from) / 2);
      this.reveal();
    } else {
      this.unchoose();
    }
    this.redraw();
  }

  unchoose() {
    this.chosen.replaceChildren(make("span", "Choose a call by a click, or by n and p: it stands here."));
  }

  /** Scrolls until the chosen row is there. */
  reveal() {
    const row = this.rows[this.row];
    if (row.y < this.top) this.scroll(row.y - this.top);
    else if (row.y + row.height > this.top + this.view) this.scroll(row.y + row.height - this.top - this.view);
  }

  /** The next failure of all, or the one before. */
  failure(sign) {
    const { start } = this.marks;
    const here = this.mark >= 0 ? start[this.mark] : sign > 0 ? -1 : Infinity;
    const place = this.mark >= 0 ? this.failures.indexOf(this.mark) : -1;
    let found;
    if (place >= 0) found = this.failures[place + sign];
    else if (sign > 0) found = this.failures.find((mark) => start[mark] > here);
    else found = this.failures.findLast((mark) => start[mark] < here);
    if (found !== undefined) this.choose(found);
  }

  step(sign) {
    const row = this.rows[this.row];
    if (!row || row.end === row.first) return;
    const inRow = this.mark >= row.first && this.mark < row.end;
    const next = inRow ? this.mark + sign : Math.min(this.firstFrom(row, this.from), row.end - 1);
    if (next >= row.first && next < row.end) this.choose(next);
  }

  // -- Pointers and keys.

  listen() {
    const { canvas, overview } = this;
    document.addEventListener("colours", () => {
      this.colours();
      // At once: paper does not wait for the next frame.
      this.draw();
      this.drawOverview();
    });
    byId("in").addEventListener("click", () => this.zoom(0.5));
    byId("out").addEventListener("click", () => this.zoom(2));
    byId("all").addEventListener("click", () => this.show(0, this.length));
    byId("before").addEventListener("click", () => this.failure(-1));
    byId("after").addEventListener("click", () => this.failure(1));
    canvas.addEventListener("keydown", (event) => this.key(event));
    canvas.addEventListener("wheel", (event) => this.wheel(event), { passive: false });

    const pointers = new Map();
    let moved = 0;
    const place = (event) => {
      const box = canvas.getBoundingClientRect();
      return [event.clientX - box.left - canvas.clientLeft, event.clientY - box.top - canvas.clientTop];
    };
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      pointers.set(event.pointerId, place(event));
      moved = 0;
    });
    canvas.addEventListener("pointermove", (event) => {
      const [x, y] = place(event);
      const before = pointers.get(event.pointerId);
      if (!before) {
        this.point(x, y);
        return;
      }
      this.tip.hidden = true;
      const other = [...pointers].find(([id]) => id !== event.pointerId)?.[1];
      if (other) {
        this.zoom(Math.max(Math.abs(before[0] - other[0]), 8) / Math.max(Math.abs(x - other[0]), 8), (x + other[0]) / 2);
      } else {
        const by = ((before[0] - x) / (this.width - this.gutter)) * (this.to - this.from);
        this.show(this.from + by, this.to + by);
        if (event.pointerType === "mouse") this.scroll(before[1] - y);
      }
      moved += Math.abs(before[0] - x) + Math.abs(before[1] - y);
      pointers.set(event.pointerId, [x, y]);
    });
    const up = (event) => {
      if (pointers.delete(event.pointerId) && moved < 4 && event.type === "pointerup") {
        const [x, y] = place(event);
        const row = this.rowAt(y);
        if (row >= 0) this.row = row;
        this.choose(this.point(x, y));
      }
    };
    canvas.addEventListener("pointerup", up);
    canvas.addEventListener("pointercancel", up);
    canvas.addEventListener("pointerleave", () => (this.tip.hidden = true));

    const jump = (event) => {
      const box = overview.getBoundingClientRect();
      const middle = ((event.clientX - box.left) / box.width) * this.length;
      const half = (this.to - this.from) / 2;
      this.show(middle - half, middle + half);
    };
    overview.addEventListener("pointerdown", (event) => {
      overview.setPointerCapture(event.pointerId);
      // From the whole, a click looks closer.
      if (this.to - this.from > this.length / 2) this.show(this.from, this.from + this.length / 8);
      jump(event);
    });
    overview.addEventListener("pointermove", (event) => event.buttons && jump(event));
  }

  wheel(event) {
    const focused = document.activeElement === this.canvas;
    const sideways = event.shiftKey ? event.deltaY || event.deltaX : event.deltaX;
    if (Math.abs(sideways) > Math.abs(event.deltaY) || event.shiftKey) {
      event.preventDefault();
      this.pan(sideways / (this.width - this.gutter));
    } else if (event.ctrlKey || event.metaKey || focused) {
      event.preventDefault();
      const lines = event.deltaMode === 1 ? 20 : 1;
      this.zoom(Math.exp((event.deltaY * lines) / 300), event.offsetX);
    }
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const rows = (by) => {
      this.row = Math.min(Math.max(this.row + by, 0), this.rows.length - 1);
      this.mark = -1;
      this.chosen.replaceChildren(make("span", `${this.rows[this.row].task.name} pid ${this.rows[this.row].task.pid}`));
      this.reveal();
      this.redraw();
    };
    const actions = {
      "+": () => this.zoom(0.5),
      "=": () => this.zoom(0.5),
      "-": () => this.zoom(2),
      0: () => this.show(0, this.length),
      Home: () => this.show(0, this.to - this.from),
      End: () => this.show(this.length - (this.to - this.from), this.length),
      ArrowLeft: () => this.pan(-0.2),
      ArrowRight: () => this.pan(0.2),
      ArrowUp: () => rows(-1),
      ArrowDown: () => rows(1),
      n: () => this.step(1),
      p: () => this.step(-1),
      f: () => this.failure(1),
      F: () => this.failure(-1),
      Escape: () => this.choose(-1),
    };
    const action = actions[event.key];
    if (action) {
      event.preventDefault();
      action();
    }
  }
}

/** As much of a text as fits. */
function fit(context, text, width) {
  if (context.measureText(text).width <= width) return text;
  let end = text.length;
  while (end > 0 && context.measureText(`${text.slice(0, end)}…`).width > width) end -= 1;
  return end > 0 ? `${text.slice(0, end)}…` : "";
}

/** A moment in which the page may answer its user. */
const pause = () => new Promise((resolve) => setTimeout(resolve));

async function start() {
  const began = performance.now();
  const data = JSON.parse(byId("data").textContent);
  if (data.tasks.length === 0) return;
  const bytes = await unpack("marks");
  await pause();
  const length = data.rows.reduce((sum, row) => sum + row, 0);
  const marks = {
    start: new Float64Array(length),
    took: new Float64Array(length),
    kind: new Uint16Array(length),
    line: new Uint32Array(length),
    count: new Uint32Array(length),
    classes: document.querySelectorAll(".legend .swatch:not(.failed, .usual, .lost)").length,
    classOf: Uint8Array.from(data.kinds, ([, kind]) => kind),
    failedOf: Uint8Array.from(data.kinds, ([, , , failed]) => failed),
  };
  let at = 0;
  for (const [index, name] of ["start", "took", "kind", "line", "count"].entries()) {
    numbers(bytes, at, marks[name], name === "start" ? data.rows : undefined);
    at += data.columns[index];
    await pause();
  }
  const rows = [];
  let first = 0;
  let since = performance.now();
  for (const [index, task] of data.tasks.entries()) {
    rows.push(new Row(task, first, first + data.rows[index], marks));
    first += data.rows[index];
    if (performance.now() - since > 30) {
      await pause();
      since = performance.now();
    }
  }
  const picture = byId("picture");
  picture.hidden = false;
  const timeline = new Timeline(data, marks, rows);
  picture.dataset.calls = marks.count.reduce((sum, count) => sum + count + 1, 0);
  picture.dataset.failures = marks.kind.reduce((sum, kind, mark) => sum + (marks.failedOf[kind] > 0 ? marks.count[mark] + 1 : 0), 0);
  picture.dataset.load = (performance.now() - began).toFixed(0);
  await pause();
  const lines = await unpack("texts");
  const ends = new Uint32Array(data.lines);
  for (let line = 0, end = 0; line < ends.length; line += 1) {
    end = lines.indexOf(10, end) + 1;
    ends[line] = end;
  }
  timeline.lines = { bytes: lines, ends };
  picture.dataset.ready = (performance.now() - began).toFixed(0);
}

start().catch((error) => {
  byId("timeline").append(make("p", `The timeline cannot be shown: ${error.message}`));
  throw error;
});
