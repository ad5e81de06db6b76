"""The wire format Gemini generateContent and streamGenerateContent."""
