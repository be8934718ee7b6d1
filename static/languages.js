// How code is read, as tables. A state is { fill, rules, until? }: text that no rule matches is of the kind `fill`; a rule is [kind,
// pattern, next]: a kind or a function that tells it, a pattern that has no captures, spans no lines and never fails after a long search,
// and the state that begins behind it; BACK: the one before goes on. Where `until` matches, a state is left.

export const BACK = Symbol('back');

const r = String.raw;
const NAME = r`[\p{L}_$][\p{L}\p{N}_$]*`;
const DOUBLE = ['string', r`"(?:\\.|[^"\\])*"?`];
const SINGLE = ['string', r`'(?:\\.|[^'\\])*'?`];
const NUMBER = ['number', r`(?:0[xX][\da-fA-F_]+|\d[\d_]*(?:\.\d[\d_]*)?(?:[eE][+-]?\d+)?)[\w%]*`];
const HASH = ['comment', r`(?<!\S)#.*`];
const SLASHES = ['comment', '//.*'];

const state = (fill, ...rules) => ({ fill, rules });
const main = (...rules) => state('', ...rules);
/** Text of one kind, over as many lines as it takes. */
const span = (kind, start, end = start) => [kind, start, state(kind, [kind, r`\\.`], [kind, end, BACK])];
const STARS = span('comment', r`/\*`, r`\*/`);

/** What a name is. An opening bracket makes a function of it, a capital a type, several a constant. */
function names(keywords, types = '', constants = 'true false null', pattern = NAME, isAnyCase = false) {
  const [isKeyword, isType, isConstant] = [keywords, types, constants].map((words) => new Set(words.split(' ')));
  return [(name, line, end) => {
    const word = isAnyCase ? name.toLowerCase() : name;
    if (isKeyword.has(word)) return 'keyword';
    if (isConstant.has(word)) return 'constant';
    if (isType.has(word)) return 'type';
    if (line[end] === '(') return 'function';
    if (isAnyCase || !/^[A-Z]/.test(name)) return '';
    return /^[A-Z][A-Z\d_]+$/.test(name) ? 'constant' : 'type';
  }, pattern];
}

const WORDS = 'if else for while do switch case default break continue return try catch finally throw new class enum const static import in async await';
const TYPES = 'int long short char bool boolean byte float double string object';

// C, C++, C#, Java, Kotlin, Scala, Swift, Dart, Go: what is a word of one is seldom a name in another.
const family = [
  SLASHES, STARS, span('string', '"""'), span('string', '`'), ['string', r`\$?@"[^"]*"?`], DOUBLE, SINGLE, ['meta', r`^\s*#\s*\w+|@[A-Za-z][\w.]*`], NUMBER,
  names(`${WORDS} abstract as auto chan companion constexpr defer delete extends extension extern fallthrough final foreach fun func go goto guard implements inline instanceof interface internal is let namespace noexcept operator override package private protected protocol public range readonly record rethrows sealed select sizeof struct super suspend synchronized template this throws typealias typedef typename union unsigned using val var virtual void volatile when where yield`, `${TYPES} any decimal error rune signed size_t uint uint8 uint16 uint32 uint64 int8 int16 int32 int64 float32 float64`, 'true false null nil nullptr NULL iota self'),
];

const template = state('string', ['string', r`\\.`], ['string', '`', BACK]);
const braces = main();
const jsx = main(['tag', '/?>', BACK], ['', r`\{`, braces], DOUBLE, SINGLE, ['attribute', r`[\p{L}_:-][\p{L}\d_:.-]*`]);
const javascript = main(
  SLASHES, STARS, DOUBLE, SINGLE, ['string', '`', template], ['meta', r`@[\w.]+`],
  ['string', r`(?<=(?:^|[=(,:!&|?{;[>+]|return) {0,4})/(?![*/ ])(?:\\.|\[(?:\\.|[^\]\\]){0,80}\]|[^/\\[]){1,160}/[a-z]{0,8}`],
  ['tag', r`(?<![\p{L}\p{N}_$)\]])<(?=[a-zA-Z][\w.]{0,40}(?:[ />]|$))[\w.]+`, jsx], ['tag', r`</[\w.]*>|<>`],
  ['property', r`${NAME}(?=\??: )`], NUMBER,
  names(`${WORDS} abstract as debugger declare delete export extends from function get implements infer instanceof interface is keyof let namespace of private protected public readonly satisfies set super this type typeof var void yield`, 'any boolean never number object string symbol unknown bigint', 'true false null undefined NaN Infinity'),
);
template.rules.push(['meta', r`\$\{`, braces]);
braces.rules.push(['', r`\{`, braces], ['', r`\}`, BACK], ...javascript.rules);

const common = [STARS, DOUBLE, SINGLE, ['keyword', r`@[\w-]+|!important`]];
const declarations = main(['', r`\}`, BACK], ...common, ['number', r`#[\da-fA-F]{3,8}\b`], ['property', r`[$a-zA-Z-][\w-]*(?=\s{0,9}:\s)`], NUMBER, ['function', r`[a-zA-Z-]+(?=\()`], ['', '[a-zA-Z-]+']);
declarations.rules.push(['', r`\{`, declarations]);
const css = main(...common, SLASHES, ['', r`\{`, declarations], ['tag', r`[.#]-?[a-zA-Z_][\w-]*`], ['function', '::?[a-z-]+'], ['property', r`[$a-z-][\w-]*(?=: )`], NUMBER, ['tag', '[a-zA-Z][a-zA-Z0-9-]*']);

const attributes = (inside) => main(['tag', '/?>', inside], DOUBLE, SINGLE, ['attribute', r`[^\s"'<>/=]+`]);
const markup = main(
  span('comment', '<!--', '-->'), ['meta', '<[!?][^>]*>?'],
  ['tag', r`<script\b`, attributes({ ...javascript, until: /<\/script/gi })], ['tag', r`<style\b`, attributes({ ...css, until: /<\/style/gi })],
  ['tag', r`</?[a-zA-Z][^\s/>]*`, attributes(BACK)], ['constant', '&#?[a-zA-Z0-9]{1,31};'],
);

const VARIABLE = ['property', r`\$(?:\{[^}]*\}?|[\w@#?*!$-]+)`];
const shell = [
  HASH, ['string', r`\$?'[^']*'?`], ['string', '"', state('string', ['string', r`\\.`], ['string', '"', BACK], VARIABLE)], VARIABLE,
  ['attribute', r`(?<=\s)--?[a-zA-Z][\w-]*`], ['property', r`(?<!\S)[A-Za-z_]\w*(?==)`],
  names('case do done elif else esac export fi for function if in local return select set source sudo then unset until while cd echo exec exit', '', 'true false', r`[A-Za-z_][\w.-]*`), NUMBER,
];

const LANGUAGES = {
  rust: main(
    SLASHES, STARS, ['meta', r`#!?\[[^\]]*\]?`], span('string', 'b?r#+"', '"#+'), span('string', 'b?r?"', '"'),
    ['string', r`b?'(?:\\[^']{1,10}|[^'\\])'`], ['constant', r`'[a-z_]\w*`], ['function', r`[a-z_]\w*!(?!=)`], NUMBER,
    names('as async await break const continue crate dyn else enum extern fn for if impl in let loop match mod move mut pub ref return self static struct super trait type unsafe use where while', 'Self bool char str u8 u16 u32 u64 u128 usize i8 i16 i32 i64 i128 isize f32 f64', 'true false'),
  ),
  python: main(
    HASH, ['meta', r`^\s*@[\w.]+`], span('string', '[rbfuRBFU]{0,2}"""', '"""'), span('string', "[rbfuRBFU]{0,2}'''", "'''"),
    ['string', `[rbfuRBFU]{0,2}${DOUBLE[1]}`], ['string', `[rbfuRBFU]{0,2}${SINGLE[1]}`], NUMBER,
    names('and as assert async await break case class continue def del elif else except finally for from global if import in is lambda match nonlocal not or pass raise return try while with yield', 'int str float bool list dict set tuple bytes object type', 'True False None self cls'),
  ),
  javascript, css, markup, shell: main(...shell),
  c: main(...family),
  php: main(HASH, ['meta', r`<\?(?:php|=)?|\?>|#\[[^\]]*\]?`], ['property', r`\$\w+`], ['keyword', r`(?:array|declare|echo|elseif|empty|fn|function|global|include|isset|list|match|mixed|or|print|require(?:_once)?|trait|unset|use)\b`], ...family),
  json: main(['property', r`"(?:\\.|[^"\\])*"(?=\s{0,9}:)`], DOUBLE, NUMBER, SLASHES, STARS, names('')),
  sql: main(
    ['comment', '--.*'], STARS, ['string', r`'(?:''|[^'])*'?`], ['property', r`"[^"]*"?|\x60[^\x60]*\x60?`], ['constant', r`(?<!:)[$:@]\w+`], NUMBER,
    names('add all alter and as asc begin between by cascade case check column commit conflict constraint create cross default delete desc distinct do drop else end except exists explain foreign from full group having if in index inner insert intersect into is join key left like limit not offset on or order outer over partition primary recursive references returning right rollback select set table then trigger union unique update using values view when where window with', 'bigint bigserial blob boolean char date decimal double float int integer interval json jsonb numeric real serial smallint text time timestamp timestamptz uuid varchar', undefined, NAME, true),
  ),
  ruby: main(HASH, span('comment', '^=begin', '^=end'), DOUBLE, SINGLE, ['constant', r`(?<![:\w]):[a-zA-Z_]\w*[?!]?`], ['property', r`(?:@@?|\$)\w+|[a-z_]\w*:(?= )`], NUMBER, names('alias and attr_accessor attr_reader begin break case class def do else elsif end ensure extend for if in include lambda module next not or private protected public raise redo require require_relative rescue retry return super then unless until when while yield', '', 'true false nil self')),
  lua: main(span('comment', r`--\[\[`, r`\]\]`), ['comment', '--.*'], span('string', r`\[\[`, r`\]\]`), DOUBLE, SINGLE, NUMBER, names('and break do else elseif end for function goto if in local not or repeat return then until while', '', 'true false nil self')),
  yaml: main(HASH, ['property', r`(?<=^\s{0,40}(?:- )?)(?:"[^"]*"|[\w./-][\w./ -]{0,80})(?=\s?:(?:\s|$))`], DOUBLE, ['string', r`'(?:''|[^'])*'?`], ['meta', '^(?:---|%).*'], ['constant', r`(?<=\s)[&*!][\w!.-]+|(?<=[\s[,])(?:true|false|null|yes|no|~)(?!\w)`], ['number', r`(?<=[\s[,])-?\d[\d.:_-]*(?![\w.])`], ['keyword', '[|>][+-]?$'], ['', r`[\w.]+`]),
  toml: main(['comment', r`(?<!\S)[#;].*`], ['type', r`^\s*\[[^\]]*\]{0,2}`], ['property', r`(?<=^\s{0,40}|[{,] ?)(?:[\w.-]{1,80}|"[^"]*")(?=\s{0,40}=)`], span('string', '"""'), span('string', "'''"), DOUBLE, SINGLE, ['number', r`(?<=[\s=[,])[+-]?\d[\w.:+-]*`], ['constant', r`\b(?:true|false)\b`], ['', r`[\w.]+`]),
  markdown: main(['keyword', r`^#{1,6} .*|^\s*(?:[-*+]|\d+[.)])(?= )`], span('string', '^ {0,3}(?:```|~~~).*', '^ {0,3}(?:```|~~~)'), ['comment', '^ {0,3}>.*'], ['string', '`[^`]*`?'], ['type', r`\*\*[^*]{1,400}\*\*`], ['function', r`\[[^\]]{0,200}\]\([^)]{0,400}\)`]),
  diff: main(['meta', r`^(?:@@|diff |index |---|\+\+\+|[*]{3}).*`], ['inserted', '^[+>].*'], ['deleted', '^[-<].*']),
  dockerfile: main(['keyword', r`^\s*(?:FROM|RUN|CMD|LABEL|EXPOSE|ENV|ADD|COPY|ENTRYPOINT|VOLUME|USER|WORKDIR|ARG|ONBUILD|STOPSIGNAL|HEALTHCHECK|SHELL)\b|\bAS\b`], ...shell),
};

const ALIASES = 'rust rs|python py python3|javascript js mjs cjs jsx ts tsx typescript|css scss less|markup html xml svg vue svelte|shell sh bash zsh console fish powershell|json json5 jsonc jsonl|sql sqlite postgresql postgres mysql|c h cc cpp c++ hpp objc csharp c# cs java kotlin kt scala groovy dart swift go golang|ruby rb|yaml yml|toml ini conf properties|markdown md|diff patch|dockerfile docker|php|lua';
const BY_NAME = new Map(ALIASES.split('|').map((words) => words.split(' ')).flatMap((words) => words.map((word) => [word, LANGUAGES[words[0]]])));

export const KNOWN = [...BY_NAME.keys()];

/** The state in which code of a language begins; undefined for one that is not known. */
export function languageOf(name = '') {
  return BY_NAME.get(name.toLowerCase());
}
