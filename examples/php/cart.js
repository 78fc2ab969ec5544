const find = selector => document.querySelector(selector);

const room = postroom('/ws');
room.on('cart', show); // another tab of this user added something
room.onstate = state => {
  find('#state').className = state;
  find('#state').textContent = { open: 'live', waiting: 'connection lost' }[state] ?? state;
};
room.onerror = ({ message }) => tell(message);

for (const button of document.querySelectorAll('button')) {
  button.onclick = async () => {
    button.disabled = true;
    try {
      const cart = await room.call('cart.add', { item: button.value });
      tell(cart.error ?? `${button.value} is in your cart.`);
      if (!cart.error) show(cart);
    } catch (error) {
      tell(`Not added: ${error.message}`); // PHP did not answer, say
    }
    button.disabled = false;
  };
}

show(JSON.parse(find('#page').textContent));

function show({ items, total }) {
  const lines = Object.entries(items).map(([item, count]) => {
    const line = document.createElement('li');
    line.textContent = `${count} × ${item}`;
    return line;
  });
  find('#cart').replaceChildren(...lines);
  find('#total').textContent = `${(total / 100).toFixed(2)} €`;
}

function tell(text) {
  find('#note').textContent = text;
}
