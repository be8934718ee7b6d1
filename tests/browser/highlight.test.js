// The lexer is a pure function: these tests need no browser.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Lexer, tokens } from '../../static/highlight.js';
import { KNOWN } from '../../static/languages.js';

const SAMPLES = {
  rust: ['/// doc\n#[derive(Debug)]\nfn f<\'a, T: Ord>(x: &\'a str) -> Option<u8> { let c = \'c\'; println!("{} \\" x", 0x1fu8); r#"raw "x"\ny"#; None } /* a\nb */', { comment: '/// doc', meta: '#[derive(Debug)]', keyword: 'fn', string: "'c'", number: '0x1fu8', type: 'Option', function: 'println!', constant: "'a" }],
  python: ['@cache\ndef f(self, x=None):\n    """doc\n    more"""\n    return f"a{x}" + \'b\' # c\n', { meta: '@cache', keyword: 'def', function: 'f', constant: 'None', comment: '# c', string: "'b'" }],
  tsx: ['const x: number = `a ${b + `c${d}`} e`; /* c\nd */ const re = a / b, r2 = /ab+[/]c/gi; const v = <Foo bar="x" on={() => go()}>hi</Foo>;\n', { keyword: 'const', type: 'number', string: '/ab+[/]c/gi', tag: '<Foo', attribute: 'bar', function: 'go', meta: '${' }],
  json: ['{"a": [1.5e3, true, null, "b\\"c"], "d": {}}', { property: '"a"', number: '1.5e3', constant: 'true', string: '"b\\"c"' }],
  html: ['<!doctype html><p class="a" id=x>&amp;<script>if (a < 3) go("</p>")</script><style>a { color: #fff }</style><!-- c\nd --></p>', { meta: '<!doctype html>', tag: '<p', attribute: 'class', string: '"a"', constant: '&amp;', keyword: 'if', function: 'go', property: 'color', number: '#fff', comment: '<!-- c' }],
  css: ['@media (width > 3px) { .b { color: red; --x: 1px } } /* c */ a::before { top: 0 }', { keyword: '@media', number: '3px', property: 'color', comment: '/* c */', tag: 'a', function: '::before' }],
  bash: ['export A="x $HOME" # c\nls --all | grep \'x\'; if true; then echo $1; fi\n', { keyword: 'export', property: '$HOME', comment: '# c', attribute: '--all', string: "'x'", constant: 'true' }],
  sql: ["select a, count(*) from t where x = 'it''s' -- c\n", { keyword: 'select', function: 'count', string: "'it''s'", comment: '-- c' }],
  go: ['func main() { x := `a\nb`; var n uint8 = 7; fmt.Println("x", nil) } // c', { keyword: 'func', function: 'main', type: 'uint8', number: '7', constant: 'nil', comment: '// c', string: '"x"' }],
  cpp: ['#include <map>\nint main() { return std::max(1, 2); } // c', { meta: '#include', type: 'int', function: 'main', keyword: 'return', comment: '// c' }],
  csharp: ['public record Point(int X) { string Name => @"a\\b"; }', { keyword: 'public', function: 'Point', type: 'int', string: '@"a\\b"' }],
  java: ['@Override public String f() { return "a"; }', { meta: '@Override', keyword: 'public', type: 'String', function: 'f', string: '"a"' }],
  kotlin: ['data class A(val x: Int = 1)', { keyword: 'val', number: '1', type: 'Int' }],
  swift: ['@main struct A { let x: Int? = nil; func f() {} }', { meta: '@main', keyword: 'struct', constant: 'nil', function: 'f' }],
  php: ["<?php echo $x['a']; # c\nfunction f(int $y) {}", { meta: '<?php', keyword: 'echo', property: '$x', string: "'a'", comment: '# c', function: 'f', type: 'int' }],
  ruby: ['class A\n  attr_reader :name\n  def f; @x = "a"; end # c\nend', { keyword: 'class', constant: ':name', property: '@x', string: '"a"', comment: '# c', type: 'A' }],
  yaml: ['a: 1\nb-c: "x" # c\nlist:\n  - d: true\n    u: http://x:80\n', { property: 'a', number: '1', string: '"x"', comment: '# c', constant: 'true' }],
  toml: ['[a.b]\nx = 1.5 # c\ny = "s"\nz = true\n', { type: '[a.b]', property: 'x', number: '1.5', comment: '# c', string: '"s"', constant: 'true' }],
  markdown: ['# T\n\n- a `b` **c** [d](e)\n', { keyword: '# T', string: '`b`', type: '**c**', function: '[d](e)' }],
  diff: ['@@ -1 +1 @@\n-a\n+b\n c\n', { meta: '@@ -1 +1 @@', deleted: '-a', inserted: '+b' }],
  dockerfile: ['FROM rust:1 AS build\nRUN cargo build --release # c\n', { keyword: 'FROM', attribute: '--release', comment: '# c' }],
  lua: ['local x = nil -- c\nprint("a", 1) --[[ d\ne ]]', { keyword: 'local', constant: 'nil', comment: '-- c', function: 'print', string: '"a"', number: '1' }],
};

/** Repeatable random numbers. */
function dice(seed) {
  let state = seed;
  return (sides) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * sides);
  };
}

/** Text of the characters that mean most to a lexer. */
function noise(roll, length) {
  const parts = ['"', "'", '`', '/*', '*/', '//', '#', '\n', '\\', '{', '}', '${', '<a ', '>', '</script>', '<script>', '<!--', '-->', ' ', 'if', 'x', '1', '=', '/', '"""', 'r#"', '"#', '--', '[[', ']]', ': ', '- ', '漢', '👩‍🚀', '\r\n', '\u2028'];
  let text = '';
  while (text.length < length) text += parts[roll(parts.length)];
  return text;
}

for (const [language, [code, expected]] of Object.entries(SAMPLES)) {
  test(`${language} is coloured`, () => {
    const found = tokens(language, code);
    assert.equal(found.map(([, text]) => text).join(''), code);
    for (const [kind, text] of Object.entries(expected)) {
      assert.ok(found.some((token) => token[0] === kind && token[1] === text), `no ${kind} ${text} in ${JSON.stringify(found)}`);
    }
  });
}

test('every character is in one token, in order, whatever the text', () => {
  const roll = dice(1);
  for (const language of [...KNOWN, 'unheard-of', '', '__proto__', 'constructor']) {
    for (let round = 0; round < 20; round++) {
      const code = noise(roll, 300);
      const found = tokens(language, code);
      assert.equal(found.map(([, text]) => text).join(''), code, language);
      assert.ok(found.every(([, text]) => text.length > 0));
    }
  }
});

test('code that grows is coloured as if it had come at once', () => {
  const roll = dice(2);
  const texts = [...Object.entries(SAMPLES).map(([language, [code]]) => [language, code]), ...KNOWN.map((language) => [language, noise(roll, 400)])];
  for (const [language, code] of texts) {
    const growing = new Lexer(language);
    for (let at = 0; at < code.length;) {
      at = Math.min(at + 1 + roll(12), code.length);
      growing.update(code.slice(0, at));
      growing.read(1 + roll(20));
    }
    growing.read(Infinity);
    const whole = new Lexer(language);
    whole.update(code);
    whole.read(Infinity);
    assert.deepEqual(growing.lines, whole.lines, language);
  }
});

test('code that is replaced is coloured anew', () => {
  const lexer = new Lexer('rust');
  for (const code of ['fn a() {}\n/* b\n', 'fn a() {}\nlet b = 1;\n', 'fn', '', '"x']) {
    lexer.update(code);
    lexer.read(Infinity);
    const whole = new Lexer('rust');
    whole.update(code);
    whole.read(Infinity);
    assert.deepEqual(lexer.lines, whole.lines, code);
  }
});

test('reading costs no more than the text is long', () => {
  const units = ['"', "'", '/*', '<a ', '{', '`', '${', '=/a', '//', '<script>', '\\', '(', '[', '$', '-- ', 'r#"', 'x=/[', '*', ' ', '\n"', '\n/*', ': ', '{a:', '&', '**a', '[a](', '"\\', 'a '];
  for (const language of KNOWN) {
    for (const unit of units) {
      const code = unit.repeat(200_000 / unit.length);
      const lexer = new Lexer(language);
      lexer.update(code);
      lexer.read(Infinity);
      assert.ok(lexer.steps <= 2 * code.length + 10, `${language}, ${JSON.stringify(unit)}: ${lexer.steps} steps`);
    }
  }
});

test('a line that grows is not read again and again as a whole', () => {
  const lexer = new Lexer('javascript');
  let code = '';
  for (let round = 0; round < 300; round++) {
    code += 'a = "b"; '.repeat(10);
    lexer.update(code);
    lexer.read(Infinity);
  }
  assert.ok(lexer.steps < 300 * 5000, `${lexer.steps} steps`);
});

test('giant code is coloured at its beginning only', () => {
  const lexer = new Lexer('rust');
  lexer.update('let a = 1;\n'.repeat(20_000));
  lexer.read(Infinity);
  assert.ok(lexer.lines.at(-1).end <= 100_020);
});
