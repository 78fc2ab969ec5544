import { expect, it } from '@jest/globals';
import type { Page } from 'playwright-core';
import { isLive, logIn, programs, SITE_TIMEOUT, startSite } from '../support/example-site.js';
import { describeWith } from '../support/requires.js';

const add = (page: Page, item: string) =>
  page.locator('.goods li').filter({ hasText: item }).getByRole('button').click();
const cart = (page: Page) => page.locator('#cart li').allTextContents();
const total = (page: Page, text: string) => page.locator('#total').getByText(text, { exact: true }).waitFor();

describeWith(programs, 'examples/php/cart.php', () => {
  it(
    'a call fills the cart of the user, in all tabs; others have their own',
    async () => {
      const site = await startSite();
      const li = await logIn(site, 'Li', 'To the shop');
      const bo = await logIn(site, 'Bo', 'To the shop');
      const second = await li.context().newPage();
      await second.goto(`${site.url}/cart.php`);
      await isLive(second);

      await add(li, 'Tea');
      await li.getByText('Tea is in your cart.').waitFor();
      await total(second, '4.50 €');
      await add(second, 'Honey');
      await total(li, '12.70 €');
      await add(li, 'Tea');
      for (const page of [li, second]) {
        await total(page, '17.20 €');
        expect(await cart(page)).toEqual(['2 × Tea', '1 × Honey']);
      }
      expect(await site.query('SELECT user, item, count FROM carts')).toEqual([
        ['Li', 'Tea', 2],
        ['Li', 'Honey', 1],
      ]);

      await li.reload();
      await isLive(li);
      expect(await cart(li)).toEqual(['2 × Tea', '1 × Honey']);
      expect(await cart(bo)).toEqual([]);
      expect([...li.faults, ...bo.faults]).toEqual([]);
    },
    SITE_TIMEOUT,
  );

  it(
    'says what PHP refuses, and what PHP does not know',
    async () => {
      const site = await startSite();
      const li = await logIn(site, 'Li', 'To the shop');
      await li
        .locator('button')
        .first()
        .evaluate(button => button.setAttribute('value', 'Gold'));
      await li.locator('button').first().click();
      await li.getByText('We do not have this.').waitFor();
      const code = await li.evaluate(`room.call('cart.burn').then(() => 'done', error => error.code)`);
      expect(code).toBe('call_failed');
      expect(await site.query('SELECT * FROM carts')).toEqual([]);
      expect((await fetch(`${site.url}/cart.php`, { method: 'POST', body: '{}' })).status).toBe(401);
    },
    SITE_TIMEOUT,
  );
});
