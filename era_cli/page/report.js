"use strict";
// The gallery, the heat maps, and sorting. Everything shown is set as text, never as HTML.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const PAGE = 60; // images that are added at once
  const OPACITY = 0.7; // of a heat map at its maximum, as in era gradcam's figure
  const TILE = 96, VIEW = 150; // pixels that an image should about have
  const one = (selector, root = document) => root.querySelector(selector);
  const every = (selector, root = document) => [...root.querySelectorAll(selector)];
  const make = (name, properties = {}, ...children) => {
    const element = Object.assign(document.createElement(name), properties);
    element.append(...children);
    return element;
  };
  const percent = (fraction) => (100 * fraction).toFixed(1) + "%";
  const bytes = (text) => Uint8Array.from(atob(text), (char) => char.charCodeAt(0));
  const count = (number) => number.toLocaleString("en-US");
  document.documentElement.classList.add("js");

  // Images

  const { side, columns, inSheet, classes, labels, predicted } = data;
  const colors = bytes(data.colors), maps = bytes(data.maps);
  const [mapRows, mapColumns] = data.cells;
  const sheets = data.sheets.map((address) => {
    const image = new Image();
    image.src = address;
    return image.decode().then(() => image);
  });
  const factor = (wanted) => Math.max(1, Math.floor(wanted / side)); // whole, so that every pixel is as large as any other

  async function drawImage(canvas, row, ...roles) {
    canvas.ariaBusy = "true";
    const sheet = await sheets[Math.floor(row / inSheet)];
    const place = row % inSheet;
    const left = (place % columns) * side, top = Math.floor(place / columns) * side;
    const context = canvas.getContext("2d");
    context.imageSmoothingEnabled = false;
    context.drawImage(sheet, left, top, side, side, 0, 0, canvas.width, canvas.height);
    roles.forEach((role) => drawMap(canvas, row, role));
    canvas.ariaBusy = null;
  }

  // A map's raw cells, interpolated between their centres. The weaker, the more transparent.
  function drawMap(canvas, row, role) {
    const first = (row * data.roles.length + role) * mapRows * mapColumns;
    const cell = (y, x) => maps[first + y * mapColumns + x];
    const { width, height } = canvas;
    const layer = make("canvas", { width, height });
    const context = layer.getContext("2d");
    const pixels = context.createImageData(width, height);
    const between = (position, size, cells) => {
      const at = Math.min(Math.max(((position + 0.5) * cells) / size - 0.5, 0), cells - 1);
      const low = Math.floor(at);
      return [low, Math.min(low + 1, cells - 1), at - low];
    };
    for (let y = 0; y < height; y++) {
      const [above, below, down] = between(y, height, mapRows);
      for (let x = 0; x < width; x++) {
        const [left, right, across] = between(x, width, mapColumns);
        const upper = cell(above, left) * (1 - across) + cell(above, right) * across;
        const lower = cell(below, left) * (1 - across) + cell(below, right) * across;
        const value = Math.round(upper * (1 - down) + lower * down);
        const pixel = 4 * (y * width + x);
        pixels.data.set(colors.subarray(3 * value, 3 * value + 3), pixel);
        pixels.data[pixel + 3] = OPACITY * value;
      }
    }
    context.putImageData(pixels, 0, 0);
    canvas.getContext("2d").drawImage(layer, 0, 0);
  }

  const name = (row) => (data.files ? data.files[row] : "index " + data.index[row]);

  // Which images

  const form = one(".filters"), groups = [...data.groups, { name: "all", title: "All images in this page" }];
  const field = (name) => form.elements.namedItem(name);
  const everything = labels.map((_, row) => row);
  const keys = {
    confidence: (row) => -data.probabilities[row][0],
    unconfident: (row) => data.probabilities[row][0],
    loss: (row) => -data.losses[row],
    margin: (row) => -data.margins[row],
    index: (row) => (data.index ? data.index[row] : row),
  };
  const first = groups.findIndex((group) => (group.rows ?? everything).length); // without mistakes, there are other images
  groups.forEach((group, place) =>
    field("group").append(make("option", { value: place, textContent: group.title, defaultSelected: place === first })),
  );
  for (const select of [field("true"), field("predicted")]) {
    select.append(make("option", { value: "", textContent: "any" }));
    classes.forEach((text, place) => select.append(make("option", { value: place, textContent: text })));
  }

  let chosen = [], shown = 0;
  const list = one(".tiles-of-images"), more = one(".more");
  list.style.setProperty("--tile", Math.max(TILE, side * factor(TILE)) + "px");

  // Of how many images the page holds those of a group with these classes; undefined where that is not known.
  function totalOf(group, label, answer) {
    if (group.rows && label === null && answer === null) return group.total;
    if (group.rows && group.name !== "misclassified") return undefined;
    const counted = (number, truth, guess) =>
      (label ?? truth) === truth && (answer ?? guess) === guess && !(group.rows && truth === guess) ? number : 0;
    return data.confusion.flatMap((row, truth) => row.map((number, guess) => counted(number, truth, guess))).reduce((a, b) => a + b);
  }

  function choose() {
    const group = groups[field("group").value];
    const wanted = (name) => (field(name).value === "" ? null : Number(field(name).value));
    const [label, answer] = [wanted("true"), wanted("predicted")];
    const rows = group.rows ?? everything;
    chosen = rows.filter((row) => (label ?? labels[row]) === labels[row] && (answer ?? predicted[row]) === predicted[row]);
    const key = keys[field("order").value] ?? (group.rows ? null : keys.confidence);
    if (key) chosen.sort((a, b) => key(a) - key(b));
    const total = totalOf(group, label, answer);
    const some = total > chosen.length, all = some ? total : chosen.length;
    one(".count").textContent = (some ? count(chosen.length) + " of " : "") + (all === 1 ? "1 image" : count(all) + " images");
    const others = some && group.rows?.length !== 0; // where none is listed, the note says why
    one(".group-note").textContent = [group.note, others ? "The others are not in this page." : ""].filter(Boolean).join(" ");
    for (const cell of every(".matrix td[data-true]"))
      cell.setAttribute("aria-selected", label === Number(cell.dataset.true) && answer === Number(cell.dataset.predicted));
    list.replaceChildren();
    shown = 0;
    close();
    extend();
  }

  function extend() {
    const group = groups[field("group").value];
    const captions = new Map((group.captions ?? []).map((text, place) => [group.rows[place], text]));
    for (const row of chosen.slice(shown, shown + PAGE)) list.append(make("li", {}, tile(row, captions.get(row))));
    shown = Math.min(shown + PAGE, chosen.length);
    more.hidden = shown >= chosen.length;
    one(".count").dataset.printed = more.hidden ? "" : count(shown);
    more.textContent = `Show ${Math.min(PAGE, chosen.length - shown)} more of ${count(chosen.length - shown)}`;
    const tiles = every(".tile", list);
    if (tiles.length && !tiles.some((each) => each.tabIndex === 0)) tiles[0].tabIndex = 0;
  }

  function tile(row, caption) {
    const size = side * factor(TILE);
    const canvas = make("canvas", { width: side, height: side });
    canvas.style.width = canvas.style.height = size + "px";
    drawImage(canvas, row);
    const lines = [`${classes[predicted[row]]} ${percent(data.probabilities[row][0])}`, `true: ${classes[labels[row]]}`];
    if (caption) lines.push(caption);
    const button = make(
      "button",
      { type: "button", className: "tile", tabIndex: -1, title: name(row) },
      canvas,
      ...lines.map((textContent) => make("span", { textContent })),
    );
    button.dataset.row = row;
    button.setAttribute("aria-label", `${name(row)}: predicted ${lines.join(", ")}`);
    return button;
  }

  // One image in detail

  const closeup = one(".closeup"), narrow = matchMedia("(max-width: 56rem)");
  function open(row) {
    one(".hint", closeup).hidden = true;
    one(".shown", closeup).hidden = false;
    closeup.classList.add("open");
    const views = one(".views", closeup);
    const size = side * factor(narrow.matches ? Math.min(VIEW, (innerWidth - 60) / 3) : VIEW); // three in a row on a phone
    const view = (caption, ...roles) => {
      const canvas = make("canvas", { width: size, height: size });
      canvas.setAttribute("role", "img");
      canvas.setAttribute("aria-label", caption);
      drawImage(canvas, row, ...roles);
      return make("figure", {}, canvas, make("figcaption", { textContent: caption }));
    };
    const target = { predicted: predicted[row], true: labels[row] };
    views.replaceChildren(view("image"));
    data.roles.forEach((role, place) => {
      if (place > 0 && target[role] === target[data.roles[0]]) return;
      const caption = `${role}: ${classes[target[role]]}`;
      views.append(data.empty[row][place] ? view(caption + " (no evidence for it)") : view(caption, place));
    });
    one(".title", closeup).textContent = name(row);
    one(".likeliest", closeup).replaceChildren(
      ...data.likeliest[row].map((place, rank) => {
        const share = data.probabilities[row][rank];
        const text = classes[place] + (place === labels[row] ? " (true)" : "");
        const item = make("li", {}, make("span", { textContent: text }), make("span", { textContent: percent(share) }));
        item.style.setProperty("--share", share);
        return item;
      }),
    );
    one(".numbers", closeup).textContent =
      `probability of the true class ${percent(data.own[row])}, loss ${data.losses[row].toFixed(3)}, margin ${data.margins[row].toFixed(3)}`;
  }
  function close() {
    one(".hint", closeup).hidden = false;
    one(".shown", closeup).hidden = true;
    closeup.classList.remove("open");
  }

  const rowOf = (event) => event.target.closest(".tile")?.dataset.row;
  const openAt = (event) => rowOf(event) !== undefined && open(Number(rowOf(event)));
  list.addEventListener("focusin", openAt);
  list.addEventListener("click", openAt);
  // Of a mouse, also on a laptop whose first pointer is its screen; not where it would open over the images.
  list.addEventListener("pointerover", (event) => event.pointerType === "mouse" && !narrow.matches && openAt(event));
  list.addEventListener("mouseleave", () => {
    const focused = document.activeElement.closest?.(".tile");
    if (focused) open(Number(focused.dataset.row));
  });
  one(".close", closeup).addEventListener("click", close);
  document.addEventListener("keydown", (event) => event.key === "Escape" && close());

  // Arrow keys within a set of elements of which one is in the tab order.
  function move(event, elements, across) {
    const place = elements.indexOf(event.target.closest("[tabindex]"));
    const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: across, ArrowUp: -across, Home: -place, End: elements.length - 1 - place }[event.key];
    const next = step === undefined || place < 0 ? undefined : elements[place + step];
    if (!next) return;
    event.preventDefault();
    elements.forEach((each) => (each.tabIndex = each === next ? 0 : -1));
    next.focus();
  }
  list.addEventListener("keydown", (event) => {
    const tiles = every(".tile", list);
    const top = tiles[0]?.getBoundingClientRect().top;
    move(event, tiles, Math.max(1, tiles.findIndex((each) => each.getBoundingClientRect().top > top)));
  });
  list.addEventListener("focusin", (event) => {
    const focused = event.target.closest(".tile");
    every(".tile", list).forEach((each) => (each.tabIndex = each === focused ? 0 : -1));
    if (narrow.matches) focused.scrollIntoView({ block: "nearest" }); // from under what has just opened
  });

  more.addEventListener("click", () => {
    const next = shown;
    extend();
    every(".tile", list)[next]?.focus();
  });
  form.addEventListener("change", choose);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(choose));

  function filter(label, answer, group = "all") {
    field("group").value = groups.findIndex((each) => each.name === group);
    field("true").value = label;
    field("predicted").value = answer;
    choose();
    one("#images").scrollIntoView();
  }

  for (const button of every("button[data-group]"))
    button.addEventListener("click", () => filter("", "", button.dataset.group));

  // The confusion matrix and the classes

  const cells = every(".matrix td[data-true]");
  const matrixColumns = Math.round(Math.sqrt(cells.length));
  one(".matrix").setAttribute("role", "grid");
  cells.forEach((cell, place) => {
    cell.tabIndex = place ? -1 : 0;
    const [label, answer] = [classes[cell.dataset.true], classes[cell.dataset.predicted]];
    cell.setAttribute("role", "gridcell");
    cell.title = `true ${label}, predicted ${answer}`;
    cell.setAttribute("aria-label", `${cell.title}: ${cell.textContent || 0}`);
    const show = () => filter(cell.dataset.true, cell.dataset.predicted);
    cell.addEventListener("click", show);
    cell.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === " ") {
        event.preventDefault();
        show();
      } else move(event, cells, matrixColumns);
    });
  });

  for (const header of every(".sortable tbody th")) {
    const button = make("button", { type: "button", textContent: header.textContent, title: "Show its images" });
    button.addEventListener("click", () => filter(header.dataset.true, ""));
    header.replaceChildren(button);
  }
  for (const table of every(".sortable")) {
    const headers = every("thead th", table), body = one("tbody", table);
    headers.forEach((header, column) => {
      const button = make("button", { type: "button", textContent: header.textContent });
      button.addEventListener("click", () => {
        const down = header.getAttribute("aria-sort") === "ascending";
        headers.forEach((each) => each.removeAttribute("aria-sort"));
        header.setAttribute("aria-sort", down ? "descending" : "ascending");
        const value = (row) => row.children[column].dataset.value;
        const rows = [...body.rows].sort((a, b) => {
          if ((value(a) === "") !== (value(b) === "")) return value(a) === "" ? 1 : -1; // what has none comes last
          return (down ? -1 : 1) * (value(a) - value(b));
        });
        body.replaceChildren(...rows);
      });
      header.replaceChildren(button);
    });
  }

  choose();
})();
