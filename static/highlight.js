// Colours for code: nothing yet.

export class Paint {
  update() {}
  destroy() {}
}
