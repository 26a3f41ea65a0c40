"""The names that users of such systems have in their environment already, each seen where it must arrive."""

from __future__ import annotations

from .running import running


def test_usual_names_of_providers_work(tmp_path, cloud_server, lan_server):
    cloud, lan = cloud_server, lan_server
    env = {
        "OPENAI_API_KEY": "sk-openai-0123456789",
        "OPENAI_ORG_ID": "org-mine",
        "OPENAI_MODEL": "gpt-4o-mini",
        "OPENAI_BASE_URL": cloud.base_url,
        "OLLAMA_HOST": lan.root,
        "OLLAMA_MODEL": "mine:1b",
        "LITELLM_URL": cloud.base_url,
        "LITELLM_MASTER_KEY": "sk-litellm-0123456789",
        "ANTHROPIC_API_KEY": "sk-ant-0123456789abcdef",
        "GEMINI_API_KEY": "AIza0123456789abcdef0123",
    }
    tree = {
        "providers": {
            "anthropic": {"base_url": cloud.root, "models": ["claude-opus-5-5"]},
            "gemini": {"base_url": cloud.gemini_url, "models": ["gemini-2.5-flash"]},
            "litellm": {"models": ["anything"]},
        }
    }
    with running(tmp_path, tree, env=env) as gateway:
        listed = {model["id"] for model in gateway.ask("GET", "/v1/models").json["data"]}
        assert {"openai:gpt-4o-mini", "ollama:mine:1b"} <= listed
        sent = {}
        for model in ("openai:gpt-4o-mini", "anthropic:claude-opus-5-5", "gemini:gemini-2.5-flash", "litellm:anything"):
            cloud.reset()
            assert gateway.chat("hi", model=model).status == 200, model
            headers = cloud.chats[-1].headers
            sent[model.partition(":")[0]] = headers.get("x-api-key") or headers["authorization"]
            assert (headers.get("openai-organization") == "org-mine") is model.startswith("openai:")
        assert sent == {
            "openai": f"Bearer {env['OPENAI_API_KEY']}",
            "anthropic": env["ANTHROPIC_API_KEY"],
            "gemini": f"Bearer {env['GEMINI_API_KEY']}",
            "litellm": f"Bearer {env['LITELLM_MASTER_KEY']}",
        }
        lan.reset()
        assert gateway.chat("hi", model="ollama:mine:1b").status == 200
        assert lan.chats
    for value in env.values():
        if "0123456789" in value:
            assert value not in gateway.log_text
