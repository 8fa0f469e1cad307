// The map of images, on a canvas: it can be moved, enlarged, filtered, and gone through with the arrow keys.
{
  const map = data.map, sheet = new Image();
  const canvas = make("canvas", { tabIndex: 0 }), pen = canvas.getContext("2d");
  const MARGIN = 22, MOST = 12;
  let zoom = 1, left = 0, top = 0, chosen = -1, only = null, waiting = false;

  canvas.setAttribute("role", "application");
  canvas.setAttribute("aria-label", "Map of the images. Arrow keys go from image to image, Enter enlarges one, plus and minus zoom.");
  const width = () => canvas.clientWidth, height = () => canvas.clientHeight;
  const side = () => Math.min(96, (width() < 500 ? 13 : 18) * zoom ** 0.75);
  const x_of = i => MARGIN + (map.x[i] / 1000 * zoom - left) * (width() - 2 * MARGIN);
  const y_of = i => MARGIN + ((1 - map.y[i] / 1000) * zoom - top) * (height() - 2 * MARGIN);
  const colour = code => `hsl(${code * 137.5 % 360} 65% 45%)`;
  const visible = i => only === null || map.code[i] === only;
  const text_of = i => `${map.name[i]}: group ${map.code[i]}${name_of(map.code[i]) ? ` (${name_of(map.code[i])})` : ""} with ${map.sure[i]}%`;

  function thumbnail(i, x, y, size) {
    const from = map.side;
    pen.drawImage(sheet, i % map.columns * from, Math.floor(i / map.columns) * from, from, from, x - size / 2, y - size / 2, size, size);
  }
  function draw() {
    waiting = false;
    const ratio = devicePixelRatio || 1, style = getComputedStyle(canvas);
    canvas.width = Math.round(width() * ratio);
    canvas.height = Math.round(height() * ratio);
    pen.scale(ratio, ratio);
    pen.imageSmoothingEnabled = side() < map.side;
    const size = side(), order = [...map.index.keys()].filter(visible);
    if (only !== null) {
      pen.globalAlpha = 0.12;
      for (const i of map.index.keys()) if (!visible(i)) thumbnail(i, x_of(i), y_of(i), size);
      pen.globalAlpha = 1;
    }
    for (const i of order) {
      const x = x_of(i), y = y_of(i);
      if (x < -size || y < -size || x > width() + size || y > height() + size) continue;
      pen.fillStyle = colour(map.code[i]);
      pen.fillRect(x - size / 2 - 1.5, y - size / 2 - 1.5, size + 3, size + 3);
      thumbnail(i, x, y, size);
    }
    labels(style);
    if (chosen >= 0) {
      const x = x_of(chosen), y = y_of(chosen), large = Math.max(size, 40);
      pen.fillStyle = style.color;
      pen.fillRect(x - large / 2 - 4, y - large / 2 - 4, large + 8, large + 8);
      thumbnail(chosen, x, y, large);
    }
  }
  function labels(style) {
    pen.font = "600 14px system-ui, sans-serif";
    pen.textAlign = "center";
    pen.textBaseline = "middle";
    const taken = []; // the largest groups come first, and no label lies on another
    for (const [code, { x, y }] of middles) {
      if (only !== null && only !== code) continue;
      const at_x = MARGIN + (x / 1000 * zoom - left) * (width() - 2 * MARGIN);
      const at_y = MARGIN + ((1 - y / 1000) * zoom - top) * (height() - 2 * MARGIN);
      const name = name_of(code), label = name ? `${code} ${name.length > 18 ? `${name.slice(0, 17)}…` : name}` : String(code);
      const wide = pen.measureText(label).width + 12;
      if (taken.some(each => Math.abs(each.x - at_x) < (each.wide + wide) / 2 + 1 && Math.abs(each.y - at_y) < 23)) continue;
      taken.push({ x: at_x, y: at_y, wide });
      pen.fillStyle = style.backgroundColor;
      pen.strokeStyle = colour(code);
      pen.lineWidth = 2;
      pen.beginPath();
      pen.roundRect(at_x - wide / 2, at_y - 11, wide, 22, 5);
      pen.fill();
      pen.stroke();
      pen.fillStyle = style.color;
      pen.fillText(label, at_x, at_y + 1);
    }
  }
  const middles = new Map();
  const own_of = new Map();
  map.code.forEach((code, i) => own_of.set(code, [...own_of.get(code) ?? [], i]));
  for (const [code, own] of [...own_of].sort((a, b) => b[1].length - a[1].length)) {
    const median = values => values.sort((a, b) => a - b)[values.length >> 1];
    middles.set(code, { x: median(own.map(i => map.x[i])), y: median(own.map(i => map.y[i])) });
  }

  function soon() { if (!waiting) { waiting = true; requestAnimationFrame(draw); } }
  function hold() {
    left = Math.min(Math.max(left, 0), zoom - 1);
    top = Math.min(Math.max(top, 0), zoom - 1);
    canvas.classList.toggle("free", zoom > 1);
    soon();
  }
  function zoom_by(factor, x = width() / 2, y = height() / 2) {
    const next = Math.min(MOST, Math.max(1, zoom * factor));
    const a = (x - MARGIN) / (width() - 2 * MARGIN), b = (y - MARGIN) / (height() - 2 * MARGIN);
    left = (left + a) * next / zoom - a;
    top = (top + b) * next / zoom - b;
    zoom = next;
    hold();
  }
  function choose(i) {
    chosen = i;
    find("map-status").textContent = i < 0 ? "" : text_of(i);
    const x = x_of(i), y = y_of(i);
    if (i >= 0 && (x < 0 || y < 0 || x > width() || y > height())) { // bring it back into sight
      left = map.x[i] / 1000 * zoom - 0.5;
      top = (1 - map.y[i] / 1000) * zoom - 0.5;
    }
    hold();
  }
  function nearest(x, y) {
    let best = -1, far = Math.max(side(), 24) ** 2;
    for (const i of map.index.keys()) {
      const apart = (x_of(i) - x) ** 2 + (y_of(i) - y) ** 2;
      if (visible(i) && apart < far) { best = i; far = apart; }
    }
    return best;
  }
  // The nearest image within 45 degrees of a direction.
  function towards(dx, dy) {
    let best = -1, far = Infinity;
    for (const i of map.index.keys()) {
      const x = x_of(i) - x_of(chosen), y = y_of(i) - y_of(chosen), along = x * dx + y * dy, across = Math.abs(x * dy - y * dx);
      if (i !== chosen && visible(i) && along > 0 && across <= along && along + 2 * across < far) { best = i; far = along + 2 * across; }
    }
    return best;
  }
  function open(i) {
    const known = document.querySelector(`.shot[data-index="${map.index[i]}"] img`);
    const small = make("canvas", { width: map.side, height: map.side });
    small.getContext("2d").drawImage(sheet, i % map.columns * map.side, Math.floor(i / map.columns) * map.side, map.side, map.side, 0, 0, map.side, map.side);
    enlarge([{ src: known ? known.src : small.toDataURL(), text: known ? known.alt : text_of(i), link: map.link[i], plain: false }], 0);
  }

  const fingers = new Map();
  let moved = 0;
  canvas.addEventListener("pointerdown", event => { fingers.set(event.pointerId, event); moved = 0; canvas.setPointerCapture(event.pointerId); });
  canvas.addEventListener("pointermove", event => {
    const before = fingers.get(event.pointerId);
    if (!before) { canvas.title = (i => i < 0 ? "" : text_of(i))(nearest(event.offsetX, event.offsetY)); return; }
    const dx = event.offsetX - before.offsetX, dy = event.offsetY - before.offsetY;
    const other = [...fingers.values()].find(each => each.pointerId !== event.pointerId);
    moved += Math.abs(dx) + Math.abs(dy);
    if (other) {
      const apart = from => Math.hypot(from.offsetX - other.offsetX, from.offsetY - other.offsetY) || 1;
      zoom_by(apart(event) / apart(before), (event.offsetX + other.offsetX) / 2, (event.offsetY + other.offsetY) / 2);
    } else {
      left -= dx / (width() - 2 * MARGIN);
      top -= dy / (height() - 2 * MARGIN);
      hold();
    }
    fingers.set(event.pointerId, event);
  });
  for (const kind of ["pointerup", "pointercancel"]) canvas.addEventListener(kind, event => fingers.delete(event.pointerId));
  canvas.addEventListener("click", event => {
    const i = nearest(event.offsetX, event.offsetY);
    if (moved < 6 && i >= 0) { choose(i); open(i); }
  });
  canvas.addEventListener("wheel", event => {
    if (!event.ctrlKey && !event.metaKey) return; // the wheel alone scrolls the page
    event.preventDefault();
    zoom_by(event.deltaY < 0 ? 1.25 : 0.8, event.offsetX, event.offsetY);
  }, { passive: false });
  canvas.addEventListener("keydown", event => {
    const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (way) {
      const next = chosen < 0 ? map.index.findIndex((_, i) => visible(i)) : towards(...way);
      if (next >= 0) choose(next);
    } else if (event.key === "Enter" && chosen >= 0) open(chosen);
    else if (event.key === "+" || event.key === "=") zoom_by(1.5);
    else if (event.key === "-") zoom_by(1 / 1.5);
    else return;
    event.preventDefault();
  });
  find("map-in").addEventListener("click", () => zoom_by(1.5));
  find("map-out").addEventListener("click", () => zoom_by(1 / 1.5));
  find("map-all").addEventListener("click", () => { zoom = 1; find("map-group").value = ""; only = null; choose(-1); });
  options(find("map-group"));
  find("map-group").addEventListener("change", event => {
    only = event.target.value === "" ? null : Number(event.target.value);
    if (chosen >= 0 && !visible(chosen)) choose(-1); else soon();
  });
  sheet.addEventListener("load", () => {
    const picture = find("map-picture");
    all("img", picture)[0].hidden = true;
    picture.append(canvas);
    find("map-tools").hidden = false;
    find("map-status").textContent = "Choose an image to enlarge it. Drag the map to move it; Ctrl and the wheel zoom.";
    new ResizeObserver(soon).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", soon);
    soon();
  });
  sheet.src = map.sheet;
  all("[data-name], [data-same]").forEach(field => field.addEventListener("change", soon));
}

show_names();
arrange();
find("naming").hidden = false;
find("tools").hidden = cards.size < 4; // fewer are seen at a glance
