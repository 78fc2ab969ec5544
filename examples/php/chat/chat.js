const { me, since, history } = JSON.parse(document.querySelector('#page').textContent);
const messages = document.querySelector('#messages');
const note = document.querySelector('#note');
const form = document.querySelector('#say');
const shown = new Set();
const typing = new Map(); // from a user to the timer that ends it
let typedAt = 0;

// No token: the browser sends the session's cookie along, and Postroom asks auth.php.
const room = postroom('/ws?room=chat', { since });

// PHP has stored it. A notification with `from` came from another browser, whatever it says.
room.on('said', (message, { from }) => {
  if (from) return;
  stopsTyping(message.user);
  show(message);
});

room.on('typing', (_, { from }) => {
  if (!from || from.user === me) return;
  stopsTyping(from.user);
  typing.set(
    from.user,
    setTimeout(() => stopsTyping(from.user), 4000),
  );
  tellTyping();
});

room.onstate = state => {
  const element = document.querySelector('#state');
  element.className = state;
  element.textContent = { open: 'live', waiting: 'connection lost' }[state] ?? state;
};
room.onlost = () => location.reload();
room.onerror = ({ code, message }) => {
  if (code === 4501)
    location.href = '../login.php'; // auth.php answered 401
  else note.textContent = message;
};

form.oninput = () => {
  if (Date.now() - typedAt < 2000) return;
  typedAt = Date.now();
  room.publish('chat', 'typing').catch(() => {}); // nobody misses it
};

form.onsubmit = async event => {
  event.preventDefault();
  const field = form.elements.text;
  const text = field.value.trim();
  if (text === '') return;
  form.inert = true;
  try {
    // `published` means that it reaches PHP, also if PHP is down at the moment.
    await room.publish('inbox.chat', 'say', { text });
    field.value = '';
    typedAt = 0;
    note.textContent = '';
  } catch (error) {
    note.textContent = `Not sent: ${error.message}`;
  }
  form.inert = false;
  field.focus();
};

for (const message of history.reverse()) show(message);

function show({ id, user, text, at }) {
  if (shown.has(id)) return;
  shown.add(id);
  const item = document.createElement('li');
  item.className = user === me ? 'mine' : '';
  const [name, words, time] = ['b', 'p', 'time'].map(tag => item.appendChild(document.createElement(tag)));
  name.textContent = user;
  words.textContent = text;
  time.dateTime = at;
  time.textContent = new Date(at).toLocaleTimeString([], { timeStyle: 'short' });
  messages.append(item);
  messages.scrollTop = messages.scrollHeight;
}

function stopsTyping(user) {
  clearTimeout(typing.get(user));
  if (typing.delete(user)) tellTyping();
}

function tellTyping() {
  const users = [...typing.keys()];
  note.textContent =
    users.length === 0 ? '' : `${users.join(', ')} ${users.length === 1 ? 'is' : 'are'} typing…`;
}
