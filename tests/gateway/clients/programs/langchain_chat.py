"""LangChain's chat models at a gateway, run in an environment of their own; prints what came of each step.

langchain_chat.py URL MODEL chat|responses|messages
"""

import json
import sys

from langchain_anthropic import ChatAnthropic
from langchain_core.messages import HumanMessage, SystemMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import BaseModel


class City(BaseModel):
    """A city."""

    name: str
    population: int


@tool
def weather(city: str) -> str:
    """Tells the weather."""
    return f"Rain in {city}."


def model_of(url, name, dialect):
    if dialect == "messages":
        return ChatAnthropic(model=name, base_url=url, api_key="unused", max_retries=0, max_tokens=500)
    options = {"use_responses_api": True} if dialect == "responses" else {"stream_usage": True}
    return ChatOpenAI(model=name, base_url=f"{url}/v1", api_key="unused", max_retries=0, **options)


def run(model, *, stream):
    """An answer after as many calls as it takes, and what it cost."""
    model = model.bind_tools([weather])
    said = [SystemMessage("Be brief."), HumanMessage("How is it in Riga?")]
    while True:
        if stream:
            answer = None
            for chunk in model.stream(said):
                answer = chunk if answer is None else answer + chunk
        else:
            answer = model.invoke(said)
        if not answer.tool_calls:
            return [answer.text, answer.usage_metadata["total_tokens"]]
        said += [answer, *(weather.invoke(call) for call in answer.tool_calls)]


def main(url, name, dialect):
    model = model_of(url, name, dialect)
    told = {"tools": run(model, stream=False), "stream": run(model, stream=True)}
    told["structured"] = model.with_structured_output(City, method="json_schema").invoke("Riga?").model_dump()
    try:
        model.invoke("Fail.")
    except Exception as error:
        told["error"] = str(error)
    return told


sys.stdout.write(json.dumps(main(*sys.argv[1:])))
