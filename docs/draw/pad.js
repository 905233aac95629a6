// The drawing pad: strokes by pointer or keyboard, black on white.

const PEN = 0.028; // width, as a fraction of the side
const STEP = 0.025; // of an arrow key

export class Pad extends EventTarget {
  // Events: "change" while drawing, "settle" when a stroke ends or is taken back.
  // The pen is an element that shows where the keyboard draws.
  constructor(canvas, pen) {
    super();
    this.canvas = canvas;
    this.pen = pen;
    this.context = canvas.getContext("2d", { willReadFrequently: true });
    this.strokes = []; // of points [x, y], in fractions of the side
    this.isDown = false;
    this.cursor = [0.5, 0.5]; // of the keyboard
    canvas.addEventListener("pointerdown", (event) => this.#start(event));
    canvas.addEventListener("pointermove", (event) => this.#move(event));
    canvas.addEventListener("pointerup", () => this.#lift());
    canvas.addEventListener("pointercancel", () => this.#lift());
    canvas.addEventListener("keydown", (event) => this.#press(event));
    canvas.addEventListener("blur", () => {
      this.#lift();
      pen.hidden = true;
    });
    this.#show();
  }

  get isEmpty() {
    return this.strokes.length === 0;
  }

  // Pixels as the network reads them: RGBA, row by row.
  get pixels() {
    return this.context.getImageData(0, 0, this.canvas.width, this.canvas.height);
  }

  // A copy of the canvas.
  picture() {
    const copy = document.createElement("canvas");
    copy.width = this.canvas.width;
    copy.height = this.canvas.height;
    copy.getContext("2d").drawImage(this.canvas, 0, 0);
    return copy;
  }

  undo() {
    this.isDown = false;
    this.strokes.pop();
    this.#changed("settle");
  }

  clear() {
    this.isDown = false;
    this.strokes = [];
    this.#changed("settle");
  }

  #start(event) {
    if (event.button !== 0 || this.isDown) return;
    this.canvas.setPointerCapture(event.pointerId);
    this.pen.hidden = true;
    this.isDown = true;
    this.strokes.push([this.#place(event)]);
    this.#changed("change");
  }

  #move(event) {
    if (!this.isDown || !this.canvas.hasPointerCapture(event.pointerId)) return;
    const events = event.getCoalescedEvents?.() ?? [];
    const points = (events.length ? events : [event]).map((each) => this.#place(each));
    this.strokes.at(-1).push(...points);
    this.#changed("change");
  }

  #lift() {
    if (!this.isDown) return;
    this.isDown = false;
    this.#changed("settle");
  }

  #place(event) {
    const box = this.canvas.getBoundingClientRect();
    return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
  }

  #press(event) {
    const arrows = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    if (event.key in arrows) {
      this.cursor = this.cursor.map((at, axis) =>
        Math.min(1, Math.max(0, at + STEP * arrows[event.key][axis])));
      if (this.isDown) this.strokes.at(-1).push([...this.cursor]);
      this.#changed("change");
    } else if (event.key === " " && this.isDown) {
      this.#lift();
    } else if (event.key === " ") {
      this.isDown = true;
      this.strokes.push([[...this.cursor]]);
      this.#changed("change");
    } else {
      return;
    }
    const [left, top] = this.cursor.map((at) => `${100 * at}%`);
    Object.assign(this.pen.style, { left, top });
    this.pen.classList.toggle("down", this.isDown);
    this.pen.hidden = false;
    event.preventDefault();
  }

  #changed(type) {
    this.#show();
    this.dispatchEvent(new Event(type));
  }

  #show() {
    const { context, canvas } = this;
    const side = canvas.width;
    context.fillStyle = "#fff";
    context.fillRect(0, 0, side, side);
    context.lineCap = context.lineJoin = "round";
    context.lineWidth = PEN * side;
    for (const points of this.strokes) {
      context.beginPath();
      context.moveTo(side * points[0][0], side * points[0][1]);
      for (const [x, y] of points) context.lineTo(side * x, side * y);
      context.stroke();
    }
  }
}
