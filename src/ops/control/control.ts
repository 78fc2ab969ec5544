import type { Router } from 'express';
import type { Publishers } from '../../auth/keys.js';
import type { Revocations } from '../../auth/revocations.js';
import type { Cluster } from '../../cluster/cluster.js';
import type { Postroom } from '../../core/postroom.js';
import { assignmentResource } from './assignments.js';
import { connectionResource } from './connections.js';
import { memberResource } from './members.js';
import { notificationResource } from './notifications.js';
import { removalResource } from './removals.js';
import { type Resource, resourceRouter } from './resource.js';
import { roomResource } from './rooms.js';
import { userResource } from './users.js';

/** The control API: who is there, and who may stay. Each question is asked of all nodes. */
export class Control {
  readonly #resources: readonly Resource[];
  readonly #postroom: Postroom;

  constructor(parts: { cluster: Cluster; postroom: Postroom; revocations: Revocations }) {
    const { cluster, postroom } = parts;
    this.#postroom = postroom;
    const lists = { cluster, inventory: postroom.inventory };
    this.#resources = [
      roomResource(lists),
      memberResource(lists),
      userResource(lists),
      connectionResource(lists),
      assignmentResource(parts),
      removalResource(parts),
      notificationResource(parts),
    ];
  }

  /** Serves callers with one of these keys. */
  router(keys: Publishers): Router {
    return resourceRouter(this.#resources, keys, () => this.#postroom.isStarting);
  }
}
