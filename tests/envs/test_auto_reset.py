"""Auto-reset: gymnax's numbers, without gymnax's work."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnax.environments import environment
from soo_envs import PhysicalDeception, Signalling
from soo_envs.auto_reset import replace_where

gymnax_step = environment.Environment.step


@pytest.mark.parametrize("env", [PhysicalDeception(), Signalling()], ids=lambda env: env.name)
def test_step_gives_what_the_step_of_gymnax_gives_alone_in_a_batch_and_in_a_batch_of_batches(env):
    params = env.default_params
    shape = (3, 40)
    keys = jax.random.split(jax.random.key(0), (3, *shape))
    twice = lambda f: jax.vmap(jax.vmap(f))
    _, state = twice(lambda key: env.reset(key, params))(keys[0])
    late = jax.random.bernoulli(jax.random.key(1), 0.3, shape).at[1].set(False)  # one batch in which nobody is done
    state = state.replace(time=jnp.where(late, params.max_steps_in_episode - 1, 3))
    action = twice(env.action_space(params).sample)(keys[1])

    def check(ours, theirs):
        assert jax.tree.structure(ours) == jax.tree.structure(theirs)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), ours, theirs)

    both = [lambda *x: env.step(*x, params), lambda *x: gymnax_step(env, *x, params)]
    ours, theirs = (jax.jit(twice(f))(keys[2], state, action) for f in both)
    check(ours, theirs)
    np.testing.assert_array_equal(ours[4], late)
    np.testing.assert_array_equal(ours[1].time, np.where(late, 0, 4))
    nobody = jax.tree.map(lambda x: x[1], (keys[2], state, action))
    check(*(jax.vmap(f)(*nobody) for f in both))
    for place in np.argwhere(late)[0], np.argwhere(~late)[0]:
        one = jax.tree.map(lambda x, i=tuple(place): x[i], (keys[2], state, action))
        check(*(f(*one) for f in both))


@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 128])
def test_whoever_else_is_done_an_environment_is_reset_to_the_same_numbers(count):
    """Of 128 environments up to 8 are reset by themselves; with one more, all are."""
    env = PhysicalDeception()
    keys, again = jax.random.split(jax.random.key(0), (2, 4, 32))
    twice = lambda f: jax.vmap(jax.vmap(f, (0, 0, None)), (0, 0, None))
    before, state = jax.vmap(jax.vmap(env.reset_env, (0, None)), (0, None))(keys, env.default_params)
    done = np.zeros(128, bool)
    done[np.random.default_rng(count).permutation(128)[:count]] = True
    done = done.reshape(4, 32)
    fresh = jax.vmap(jax.vmap(env.reset_env, (0, None)), (0, None))(again, env.default_params)

    def replaced(done, own, params):
        key, current = own
        return replace_where(done, env.reset_env, (key, params), current)

    found = jax.jit(twice(replaced))(done, (again, (before, state)), env.default_params)

    def same(got, new, old):
        chosen = done.reshape(4, 32, *[1] * (np.ndim(old) - 2))
        np.testing.assert_array_equal(got, np.where(chosen, new, old))

    jax.tree.map(same, found, fresh, (before, state))


def test_params_may_be_swept_and_shared_keys_give_shared_resets():
    env = PhysicalDeception()
    key = jax.random.key(0)
    _, state = env.reset(key, env.default_params)
    state = state.replace(time=jnp.asarray(49))
    action = {"red": jnp.zeros(2), "blue": jnp.zeros(2)}

    def positions(f):
        def at(margin, key):
            return f(key, state, action, env.default_params.replace(spawn_margin=margin))[1].positions

        return jax.vmap(at, (0, None))(jnp.array([0.1, 0.5]), key)

    ours, theirs = positions(env.step), positions(lambda *x: gymnax_step(env, *x))
    np.testing.assert_allclose(ours, theirs, atol=1e-6)
    assert np.abs(ours[0]).max() > np.abs(ours[1]).max()


def test_nothing_is_made_where_nothing_is_done():
    made = []

    def make(x):
        jax.debug.callback(lambda _: made.append(1), x)
        return x + 1

    def total(done):
        return jax.vmap(jax.vmap(lambda d, x: replace_where(d, make, (x,), x)))(done, jnp.arange(6.0).reshape(2, 3))

    nobody = jnp.zeros((2, 3), bool)
    np.testing.assert_array_equal(jax.jit(total)(nobody), np.arange(6).reshape(2, 3))
    jax.effects_barrier()
    assert made == []
    np.testing.assert_array_equal(jax.jit(total)(nobody.at[1, 0].set(True)), [[0, 1, 2], [4, 4, 5]])
    jax.effects_barrier()
    assert made
