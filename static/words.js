// What the page says, in English and Simplified Chinese: as was chosen, else the first of the two among the browser's languages.

import { icon, kept } from './dom.js';

const table = {
  language: ['中文', 'English'],
  signInTitle: ['Sign in to Continuo', '登录 Continuo'],
  signInHow: ['Open the link that the server printed at its start. For a new one, run this where it runs:', '请打开服务器启动时打印的链接。如需新链接，请在服务器上运行：'],
  signInLabel: ['Or paste the link or its token here', '或在此粘贴链接或令牌'],
  signIn: ['Sign in', '登录'],
  signOut: ['Sign out', '退出登录'],
  signInAgain: ['Your login has expired. Sign in again: your draft is kept.', '登录已过期，请重新登录；草稿已保留。'],
  history: ['Conversations', '对话'],
  openHistory: ['Show conversations', '显示对话列表'],
  closeHistory: ['Hide conversations', '隐藏对话列表'],
  newConversation: ['New conversation', '新对话'],
  untitled: ['Untitled', '未命名'],
  search: ['Search', '搜索'],
  more: ['Show more', '显示更多'],
  noConversations: ['Your conversations will be listed here.', '您的对话会列在这里。'],
  nothingFound: ['Nothing found.', '没有找到。'],
  pinned: ['Pinned', '置顶'],
  today: ['Today', '今天'],
  yesterday: ['Yesterday', '昨天'],
  week: ['Previous 7 days', '过去 7 天'],
  running: ['being answered', '正在回答'],
  unseen: ['answered, not yet read', '已回答，未读'],
  actions: ['More', '更多'],
  pin: ['Pin', '置顶'],
  unpin: ['Unpin', '取消置顶'],
  rename: ['Rename', '重命名'],
  delete: ['Delete', '删除'],
  deleted: ['Conversation deleted.', '对话已删除。'],
  gone: ['This conversation is not there any more.', '此对话已不存在。'],
  undo: ['Undo', '撤销'],
  cancel: ['Cancel', '取消'],
  close: ['Close', '关闭'],
  save: ['Save', '保存'],
  exportMarkdown: ['Export as Markdown', '导出为 Markdown'],
  exportJson: ['Export as JSON', '导出为 JSON'],
  import: ['Import a conversation…', '导入对话……'],
  settings: ['Settings of this conversation', '此对话的设置'],
  model: ['Model', '模型'],
  defaultModel: ['The server’s choice', '由服务器决定'],
  system: ['System prompt', '系统提示词'],
  temperature: ['Temperature', '温度'],
  topP: ['Top P', 'Top P'],
  maxTokens: ['Most tokens', '最多词元数'],
  settingsChanged: ['Somebody changed these settings meanwhile. What you did not touch shows theirs now. Look at it and save again.', '这些设置已在别处更改。您未改动的项现已显示新值，请确认后再次保存。'],
  menu: ['Preferences', '偏好'],
  theme: ['Theme', '主题'],
  light: ['Light', '浅色'],
  dark: ['Dark', '深色'],
  systemTheme: ['System', '跟随系统'],
  keys: ['Keyboard', '键盘快捷键'],
  keysBreak: ['New line', '换行'],
  keysStop: ['Stop the answer', '停止回答'],
  keysJump: ['Previous, next question', '上一个、下一个问题'],
  keysKeys: ['These keys', '显示快捷键'],
  emptyTitle: ['What is on your mind?', '想聊点什么？'],
  emptyText: ['The server keeps the answer. Reload, close the tab, lose the network: every word is there, once.', '回答由服务器保存。刷新、关闭标签页、断开网络，每个字都在，且只出现一次。'],
  tries: [
    [['Tell me a long story, while I reload this page', 'long'], ['Think about a riddle first, then answer it', 'think'], ['Compare sorting algorithms, with code', 'code'], ['What is special here?', 'tour']],
    [['讲一个长故事，我会刷新页面', 'long'], ['先想一个谜语，再回答', 'think'], ['比较几种排序算法，附代码', 'code'], ['这里有什么特别？', 'tour']],
  ],
  prompt: ['Ask anything', '输入问题'],
  send: ['Send', '发送'],
  stop: ['Stop', '停止'],
  latest: ['Jump to latest', '跳到最新'],
  earlier: ['Earlier messages', '更早的消息'],
  you: ['You', '您'],
  answer: ['Answer', '回答'],
  thinking: ['Thinking…', '思考中……'],
  thought: ['Thought', '思考过程'],
  thoughtFor: [(time) => `Thought for ${time}`, (time) => `思考了 ${time}`],
  seconds: ['s', '秒'],
  edit: ['Edit and send anew', '编辑并重新发送'],
  copy: ['Copy', '复制'],
  copied: ['Copied', '已复制'],
  copyFailed: ['Could not be copied', '无法复制'],
  code: ['Code', '代码'],
  table: ['Table', '表格'],
  regenerate: ['Answer again', '重新回答'],
  carryOn: ['Continue', '继续'],
  previousBranch: ['Previous version', '上一个版本'],
  nextBranch: ['Next version', '下一个版本'],
  showAll: [(n) => `Show all ${n} characters`, (n) => `显示全部 ${n} 个字符`],
  showLess: ['Show less', '收起'],
  reconnecting: ['Reconnecting… the server is still writing.', '正在重新连接……服务器仍在书写。'],
  offline: ['The server cannot be reached. Trying again…', '无法连接服务器，正在重试……'],
  places: [(n) => `open in ${n} places`, (n) => `在 ${n} 处打开`],
  receipt: ['Receipt', '回执'],
  eventsKept: [(n) => `${n} events kept`, (n) => `已保存 ${n} 个事件`],
  healed: [(n) => `reconnected ${n} ×`, (n) => `重连 ${n} 次`],
  tokens: ['tokens', '词元'],
  tokensPerSecond: ['tokens/s', '词元/秒'],
  outcome: ['Outcome', '结果'],
  firstToken: ['First token', '首个词元'],
  speed: ['Speed', '速度'],
  lastEvent: ['Last event', '最后事件'],
  reconnects: ['Reconnects', '重连次数'],
  replayed: ['Events replayed', '补发事件'],
  writing: ['Being written', '正在书写'],
  complete: ['The answer is complete.', '回答已完成。'],
  completed: ['Complete', '完成'],
  stopped: ['Stopped', '已停止'],
  failed: ['Failed', '失败'],
  interrupted: ['Interrupted', '已中断'],
  truncated: ['Cut off', '未写完'],
  lengthLimit: ['This answer reached its length limit.', '此回答已达到长度上限。'],
  notStored: ['This answer could not be stored yet.', '此回答尚未能保存。'],
  unreachable: ['The server cannot be reached. Check the connection and try again.', '无法连接服务器，请检查网络后重试。'],
  unexpected: [(status) => `The server answered with an error (${status}).`, (status) => `服务器返回错误（${status}）。`],
  tryAgain: ['Try again', '重试'],
  tryAgainIn: [(n) => `Try again in ${n} s`, (n) => `${n} 秒后可重试`],

};

const language = kept.get('language') ?? navigator.languages.find((tag) => /^(en|zh)\b/i.test(tag)) ?? 'en';
const isChinese = /^zh/i.test(language);
const locale = isChinese ? 'zh-CN' : 'en';

export const words = Object.fromEntries(Object.entries(table).map(([name, both]) => [name, both[Number(isChinese)]]));
export const otherLanguage = isChinese ? 'en' : 'zh';

export const number = (value, digits = 0) => value.toLocaleString(locale, { maximumFractionDigits: digits });

export const month = new Intl.DateTimeFormat(locale, { year: 'numeric', month: 'long' });

/** Fills the elements of the page that name their words and icons. */
export function translate() {
  document.documentElement.lang = locale;
  for (const element of document.querySelectorAll('[data-t]')) element.prepend(words[element.dataset.t]);
  for (const element of document.querySelectorAll('[data-i]')) element.prepend(icon(element.dataset.i));
  for (const element of document.querySelectorAll('[data-l]')) {
    element.ariaLabel = words[element.dataset.l];
    if (element.matches('.icon')) element.title = element.ariaLabel;
    else if ('placeholder' in element) element.placeholder = element.ariaLabel;
  }
}
