// Heat map: what each cell of a drawing says for or against the other drawing.

const FOR = "23, 86, 169"; // blue
const AGAINST = "214, 98, 0"; // orange
const MOST = 0.6; // opacity

// Draw the box of a picture that the network sees, and its cells in front of it.
export function drawHeat(canvas, { picture, box }, cells, [rows, columns], most) {
  const context = canvas.getContext("2d");
  const { width, height } = canvas;
  const [top, bottom, left, right] = box;
  context.fillStyle = "#fff";
  context.fillRect(0, 0, width, height);
  const scale = [width / (right - left), height / (bottom - top)];
  context.setTransform(scale[0], 0, 0, scale[1], -left * scale[0], -top * scale[1]);
  context.drawImage(picture, 0, 0);
  context.resetTransform();
  cells.forEach((value, i) => {
    const opacity = (MOST * Math.abs(value)) / most;
    context.fillStyle = `rgba(${value > 0 ? FOR : AGAINST}, ${opacity})`;
    const [row, column] = [Math.floor(i / columns), i % columns];
    context.fillRect((column * width) / columns, (row * height) / rows, width / columns, height / rows);
  });
}
