(() => {
  const canvas = document.getElementById("scatter");
  if (!canvas) return;
  const { labels, points } = JSON.parse(document.getElementById("points").textContent);
  const [X2, Y2, X3, Y3, Z3, LABEL, PREDICTED, NAME, IMAGE, CATEGORY] = points[0].keys();
  // Paul Tol's "bright" scheme, distinguishable with every common colour blindness; shapes change with each round.
  const COLOURS = ["#4477AA", "#EE6677", "#228833", "#CCBB44", "#66CCEE", "#AA3377", "#8A8F98"];
  const SHAPES = [
    (c, x, y, r) => c.arc(x, y, r, 0, 2 * Math.PI),
    (c, x, y, r) => c.rect(x - r * 0.9, y - r * 0.9, r * 1.8, r * 1.8),
    (c, x, y, r) => { c.moveTo(x, y - r * 1.2); c.lineTo(x + r * 1.1, y + r * 0.8); c.lineTo(x - r * 1.1, y + r * 0.8); c.closePath(); },
    (c, x, y, r) => { c.moveTo(x, y - r * 1.3); c.lineTo(x + r * 1.3, y); c.lineTo(x, y + r * 1.3); c.lineTo(x - r * 1.3, y); c.closePath(); },
  ];
  const colour = (label) => COLOURS[label % COLOURS.length];
  const shape = (label) => SHAPES[Math.floor(label / COLOURS.length) % SHAPES.length];
  const wrong = (point) => point[PREDICTED] !== "" && point[PREDICTED] !== labels[point[LABEL]];

  const context = canvas.getContext("2d");
  const tip = document.getElementById("tip");
  const hidden = new Set();
  const state = { view: 2, turn: 0.7, tilt: 0.35, hover: -1, onlyWrong: false, drawn: [] };
  let width = 0, height = 0, queued = false;

  const visible = (point) => !hidden.has(point[LABEL]) && (!state.onlyWrong || wrong(point));
  const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  const EYE = 6;  // Distance of the eye from the middle; far enough that near marks do not swell.
  const range = (axis) => {
    const values = points.map((point) => point[axis]);
    return [values.reduce((a, b) => Math.min(a, b)), values.reduce((a, b) => Math.max(a, b))];
  };
  const plane = [X2, Y2].map(range), extent = [X3, Y3, Z3].map(range);
  const diagonal = Math.hypot(...extent.map(([low, high]) => (high - low) / 2)) || 1;

  function place(x, y, z) {
    const a = Math.cos(state.turn), b = Math.sin(state.turn), c = Math.cos(state.tilt), d = Math.sin(state.tilt);
    const side = x * a + z * b, deep = z * a - x * b;
    const depth = deep * c + y * d;
    const near = EYE / (EYE + depth);
    return { x: side * near, y: (y * c - deep * d) * near, near };
  }
  function toScreen(point) {
    if (state.view === 2) {
      const [[left, right], [low, high]] = plane;
      const scale = Math.min((width - 40) / (right - left || 1), (height - 40) / (high - low || 1));
      return {
        x: width / 2 + (point[X2] - (left + right) / 2) * scale,
        y: height / 2 - (point[Y2] - (low + high) / 2) * scale,
        near: 1,
      };
    }
    return spread(place(point[X3], point[Y3], point[Z3]));
  }
  function spread(at) {
    const reach = Math.min(width, height) * 0.5 / (diagonal * 1.05);
    return { x: width / 2 + at.x * reach, y: height / 2 - at.y * reach, near: at.near };
  }
  function box() {
    context.strokeStyle = style("--line");
    context.lineWidth = 1;
    const [xs, ys, zs] = extent;
    context.beginPath();
    const edge = (start, end) => {
      const from = spread(place(...start)), to = spread(place(...end));
      context.moveTo(from.x, from.y);
      context.lineTo(to.x, to.y);
    };
    for (const y of ys) for (const z of zs) edge([xs[0], y, z], [xs[1], y, z]);
    for (const x of xs) for (const z of zs) edge([x, ys[0], z], [x, ys[1], z]);
    for (const x of xs) for (const y of ys) edge([x, y, zs[0]], [x, y, zs[1]]);
    context.stroke();
  }
  function draw() {
    queued = false;
    const ratio = devicePixelRatio || 1;
    const area = canvas.getBoundingClientRect();
    if (canvas.width !== Math.round(area.width * ratio) || canvas.height !== Math.round(area.height * ratio)) {
      canvas.width = Math.round(area.width * ratio);
      canvas.height = Math.round(area.height * ratio);
    }
    width = area.width; height = area.height;
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, height);
    if (state.view === 3) box();
    state.drawn = [];
    points.forEach((point, index) => { if (visible(point)) state.drawn.push({ index, point, ...toScreen(point) }); });
    state.drawn.sort((one, other) => one.near - other.near);
    const ring = style("--text");
    const size = (points.length > 800 ? 3.2 : 4.4) * (width < 500 ? 0.7 : 1);
    for (const mark of state.drawn) {
      const radius = size * mark.near ** 1.5;
      context.globalAlpha = state.view === 3 ? Math.min(1, 0.35 + 0.55 * mark.near) : 0.85;
      context.fillStyle = colour(mark.point[LABEL]);
      context.beginPath();
      shape(mark.point[LABEL])(context, mark.x, mark.y, radius);
      context.fill();
      if (wrong(mark.point)) {
        context.globalAlpha = 1;
        context.strokeStyle = ring;
        context.lineWidth = 1.4;
        context.beginPath();
        context.arc(mark.x, mark.y, radius + 2.2, 0, 2 * Math.PI);
        context.stroke();
      }
    }
    context.globalAlpha = 1;
    const mark = state.drawn.find((one) => one.index === state.hover);
    if (mark) {
      context.strokeStyle = style("--accent");
      context.lineWidth = 2.5;
      context.beginPath();
      context.arc(mark.x, mark.y, 9, 0, 2 * Math.PI);
      context.stroke();
    }
    showTip(mark);
  }
  function redraw() {
    if (!queued) { queued = true; requestAnimationFrame(draw); }
  }
  function showTip(mark) {
    tip.hidden = !mark;
    if (!mark) return;
    const [picture, words] = tip.children, point = mark.point;
    const source = images[point[IMAGE]];
    if (picture.getAttribute("src") !== source) picture.src = source;
    words.replaceChildren(...[
      [labels[point[LABEL]], "strong"],
      point[PREDICTED] === "" ? null : ["predicted " + point[PREDICTED], "div", wrong(point) ? "bad-answer" : ""],
      [point[NAME], "div", "muted"],
      point[CATEGORY] ? [point[CATEGORY], "div", "muted"] : null,
    ].filter(Boolean).map(([text, tag, name]) => Object.assign(document.createElement(tag), { textContent: text, className: name || "" })));
    const left = mark.x + 16 + tip.offsetWidth > width ? mark.x - 16 - tip.offsetWidth : mark.x + 16;
    const top = Math.min(Math.max(4, mark.y - tip.offsetHeight / 2), height - tip.offsetHeight - 4);
    tip.style.transform = `translate(${Math.max(4, left)}px, ${top}px)`;
  }
  function nearest(event) {
    const area = canvas.getBoundingClientRect();
    const x = event.clientX - area.left, y = event.clientY - area.top;
    let best = -1, distance = event.pointerType === "touch" ? 26 : 13;
    for (const mark of state.drawn) {
      const far = Math.hypot(mark.x - x, mark.y - y);
      if (far <= distance) { distance = far; best = mark.index; }
    }
    return best;
  }

  let drag = null;
  canvas.addEventListener("pointerdown", (event) => {
    state.hover = nearest(event);
    if (state.view === 3) {
      drag = { x: event.clientX, y: event.clientY, turn: state.turn, tilt: state.tilt };
      canvas.setPointerCapture(event.pointerId);
    }
    redraw();
  });
  canvas.addEventListener("pointermove", (event) => {
    if (drag) {
      state.turn = drag.turn + (event.clientX - drag.x) * 0.008;
      state.tilt = Math.max(-1.5, Math.min(1.5, drag.tilt + (event.clientY - drag.y) * 0.008));
    } else state.hover = nearest(event);
    redraw();
  });
  for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, () => { drag = null; });
  canvas.addEventListener("pointerleave", () => { if (!drag) { state.hover = -1; redraw(); } });
  canvas.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (event.key === "Escape") state.hover = -1;
    else if (step) {
      // Samples in the order they are drawn in two dimensions, so that the next one is near.
      const order = points.map((point, index) => index).filter((index) => visible(points[index]))
        .sort((one, other) => points[one][X2] - points[other][X2]);
      if (!order.length) return;
      const at = order.indexOf(state.hover);
      state.hover = order[at < 0 ? 0 : (at + step + order.length) % order.length];
      event.preventDefault();
    } else return;
    redraw();
  });

  for (const button of document.querySelectorAll("[data-view]")) button.addEventListener("click", () => {
    state.view = Number(button.dataset.view);
    state.hover = -1;
    canvas.classList.toggle("turning", state.view === 3);
    for (const other of document.querySelectorAll("[data-view]")) other.setAttribute("aria-pressed", String(other === button));
    redraw();
  });
  document.getElementById("only-wrong").addEventListener("change", (event) => {
    state.onlyWrong = event.target.checked;
    redraw();
  });

  const OUTLINES = ["M7 1.5a5.5 5.5 0 1 0 .01 0Z", "M2 2h10v10H2Z", "M7 1 13 12H1Z", "M7 0l7 7-7 7-7-7Z"];
  const blank = document.getElementById("legend-item").content.firstElementChild;
  labels.forEach((label, index) => {
    const item = blank.cloneNode(true), button = item.firstElementChild;
    const path = item.querySelector("path");
    path.setAttribute("d", OUTLINES[Math.floor(index / COLOURS.length) % OUTLINES.length]);
    path.setAttribute("fill", colour(index));
    button.append(label);
    button.addEventListener("click", () => {
      if (hidden.delete(index)) button.setAttribute("aria-pressed", "true");
      else { hidden.add(index); button.setAttribute("aria-pressed", "false"); }
      redraw();
    });
    document.getElementById("legend").append(item);
  });

  new ResizeObserver(redraw).observe(canvas);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  redraw();
})();
