"use strict";
// nilearn keeps its viewer to itself: it is caught where it is made.
const make = window.brainsprite;
window.brainsprite = (settings) => {
  const form = document.querySelector(".controls");
  const voxelMm = Number(form.dataset.voxelMm);
  const canvas = document.querySelector("canvas");
  const axes = ["X", "Y", "Z"];
  const field = (name, axis) => document.getElementById(`${name}-${axis}`);

  const show = () => {
    for (const axis of axes) {
      const place = brain.numSlice[axis];
      field("place", axis).value = place;
      const text = `${Math.round((place + 0.5) * voxelMm)} mm`;
      field("shown", axis).textContent = text;
      field("place", axis).setAttribute("aria-valuetext", text);
    }
  };
  const move = (axis, place) => {
    brain.numSlice[axis] = Math.min(Math.max(place, 0), brain.nbSlice[axis] - 1);
    brain.drawAll();
    show();
  };

  // Nobody reads values off the colours.
  settings.nanValue = true;
  settings.colorMap = false;
  settings.colorCrosshair = "#f0e442";
  settings.overlay.opacity = 0;
  settings.onclick = () => show();
  const brain = make(settings);

  const sprite = document.getElementById(settings.sprite);
  const volume = document.getElementById("volume");
  volume.addEventListener("change", () => { sprite.src = volume.value; });
  sprite.src = volume.value;
  for (const axis of axes) {
    field("place", axis).addEventListener("input", (event) => move(axis, Number(event.target.value)));
  }
  form.addEventListener("submit", (event) => event.preventDefault());

  // nilearn's own slider, moved to our controls and set to what is drawn.
  const opacity = document.querySelector("input.slider");
  const row = opacity.parentElement;
  document.getElementById("colours").append(opacity);
  opacity.min = 0;
  opacity.value = 0;
  row.hidden = true;
  row.style.display = "none";

  canvas.tabIndex = 0;
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", "Sagittal, coronal and axial slice. Click to move; arrow keys move to the left, right, "
    + "front and back, page up and page down move up and down.");
  const keys = { ArrowLeft: ["X", -1], ArrowRight: ["X", 1], ArrowDown: ["Y", -1], ArrowUp: ["Y", 1],
    PageDown: ["Z", -1], PageUp: ["Z", 1] };
  canvas.addEventListener("keydown", (event) => {
    if (!(event.key in keys)) return;
    event.preventDefault();
    const [axis, step] = keys[event.key];
    move(axis, brain.numSlice[axis] + step * (event.shiftKey ? 10 : 1));
  });
  show();
  return brain;
};
