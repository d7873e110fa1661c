# frozen_string_literal: true

require 'faraday'
require_relative 'support/http_service'

RSpec.describe 'TaskerCore::StepHandler::Api' do
  include Attempts

  let(:service) { HttpService.new }
  let(:request) { service.requests.pop(true) }

  after { service.stop }

  # A handler class of this service; the block is its process, or defines what it likes.
  def handler(body = nil, &settings)
    url = service.url
    Class.new(TaskerCore::StepHandler::Api) do
      base_url(url)
      class_eval(&settings) if settings
      define_method(:process) { |task, sequence, step| instance_exec(task, sequence, step, &body) } if body
    end
  end

  def run(body = ->(*) { get('stock').body }, inputs: {}, **fields, &settings)
    run_step(handler(body, &settings), inputs: JSON.generate(inputs), **fields)
  end

  def result(job) = JSON.parse(job.outcome.fetch('result'))
  def error(job) = job.outcome.fetch('error')

  describe 'a call' do
    it 'reads JSON, with string or symbol keys' do
      service.answer(200, '{"rows":[{"n":18446744073709551616}]}', 'Content-Type': 'application/vnd.api+json; x=1')
      expect(result(run(->(*) { get('stock', params: { sku: 'a b' }).body[:rows].first['n'] }))).to eq(2**64)
      expect(request).to have_attributes(verb: 'GET', path: '/stock?sku=a+b')
    end

    it 'leaves other bodies alone' do
      service.answer(200, '{"a":1}', 'Content-Type': 'text/plain').answer(204)
      expect(result(run)).to eq('{"a":1}')
      expect(result(run(->(*) { get.status }))).to eq(204)
    end

    it 'sends a Hash as JSON, and a String as it is' do
      2.times { service.answer(201) }
      run(->(*) { post('orders', { id: 2**64 }).status })
      expect(request).to have_attributes(verb: 'POST', body: '{"id":18446744073709551616}',
                                         headers: include('content-type' => 'application/json'))
      run(->(*) { put('orders', '<x/>', headers: { 'Content-Type' => 'text/xml' }).status })
      expect(service.requests.pop(true)).to have_attributes(verb: 'PUT', body: '<x/>',
                                                            headers: include('content-type' => 'text/xml'))
    end

    it 'carries the key of the step where it may change something, another for each further call' do
      4.times { service.answer(200) }
      job = run(lambda do |*|
        post('a', {})
        get('b')
        delete('c')
        patch('d', {}, headers: { 'Idempotency-Key' => 'own' }).status
      end)
      keys = Array.new(4) { service.requests.pop(true).headers['idempotency-key'] }
      key = job.step.idempotency_key
      expect(keys).to eq([key, nil, "#{key}:2", 'own'])
    end

    it 'carries the trace of the step' do
      trace = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'
      service.answer(200)
      run_step(handler(->(*) { get.status }), task: { 'traceparent' => trace, 'tracestate' => 'a=1' })
      expect(request.headers).to include('traceparent' => trace, 'tracestate' => 'a=1')
    end

    it 'says who calls, at the time of the call' do
      tokens = %w[one two].each
      3.times { service.answer(200) }
      run(->(*) { [get, get].size }) { auth(:bearer, -> { tokens.next }) }
      run(->(*) { get.status }) do
        auth(:basic, 'me', -> { 'pass' })
        auth(:header, 'X-Api-Key', 'key')
      end
      headers = Array.new(3) { service.requests.pop(true).headers }
      expect(headers.map { |each| each['authorization'] }).to eq(['Bearer one', 'Bearer two', 'Basic bWU6cGFzcw=='])
      expect(headers.last['x-api-key']).to eq('key')
    end

    it 'tells other servers no secrets' do
      other = HttpService.new.answer(200)
      service.answer(200)
      here = self
      job = run(->(*) { [get("#{other.url}/x"), get("#{here.service.url}/y")].size }) { auth(:bearer, 'secret') }
      expect(result(job)).to eq(2)
      expect(other.requests.pop(true).headers).not_to include('authorization')
      expect(request.headers).to include('authorization' => 'Bearer secret')
    ensure
      other.stop
    end

    it 'has what the step says over what the class says' do
      service.answer(200)
      inputs = { base_url: "#{service.url}/v2", headers: { 'X-A' => 'step' }, timeout: 7 }
      times = nil
      run(->(*) { (times = connection.options) && get('stock').status }, inputs: inputs, timeout_seconds: 3.5) do
        headers('X-A' => 'class', 'X-B' => 'class')
        timeout(20, open: 2)
      end
      expect(request).to have_attributes(path: '/v2/stock', headers: include('x-a' => 'step', 'x-b' => 'class'))
      expect(times).to have_attributes(timeout: 3.5, open_timeout: 2)
    end

    it 'goes through the connection as the class makes it' do
      stack = nil
      adapter = Class.new(Faraday::Adapter::NetHttp) do
        define_method(:call) { |env| super(env.tap { env[:request_headers]['X-Adapter'] = 'own' }) }
      end
      service.answer(200)
      run(->(*) { (stack = connection.builder) && get.status }) { connection { |faraday| faraday.adapter(adapter) } }
      expect(request.headers).to include('x-adapter' => 'own')
      expect(stack.adapter.klass).to be(adapter)
    end

    it 'inherits settings' do
      service.answer(404)
      parent = handler do
        headers('X-A' => 'parent')
        statuses(404 => :ok)
      end
      child = Class.new(parent) do
        statuses(409 => :retryable)
        define_method(:call) { |*| get }
        define_method(:process_results) { |response| response.status }
      end
      expect(result(run_step(child))).to eq(404)
      expect(request.headers).to include('x-a' => 'parent')
      expect(parent.settings[:statuses].keys).to eq([404])
    end
  end

  it 'has the body of a lone call as its result' do
    service.answer(200, '{"id":1}', 'Content-Type': 'application/json')
    lone = handler { define_method(:call) { |_task, _sequence, step| post('charges', { step: step.name }) } }
    expect(result(run_step(lone))).to eq('id' => 1)
    expect(error(run_step(handler))).to include('message' => /neither process nor call/, 'retryable' => false)
  end

  describe 'an answer' do
    { 400 => 'ValidationError', 401 => 'PermanentError', 403 => 'PermanentError', 404 => 'NotFoundError',
      405 => 'PermanentError', 409 => 'PermanentError', 410 => 'NotFoundError', 422 => 'ValidationError',
      302 => 'PermanentError' }.each do |status, kind|
      it "#{status} is a #{kind}" do
        service.answer(status)
        expect(error(run)).to include('class' => "TaskerCore::Errors::#{kind}", 'retryable' => false,
                                      'code' => "HTTP_#{status}")
      end
    end

    [408, 425, 429, 500, 503, 599].each do |status|
      it "#{status} may be better the next time" do
        service.answer(status)
        expect(error(run)).to include('class' => 'TaskerCore::Errors::RetryableError', 'retryable' => true,
                                      'code' => "HTTP_#{status}").and(satisfy { |fields| !fields.key?('retry_after') })
      end
    end

    it 'says when that will be' do
      service.answer(429, '', 'Retry-After': '17').answer(503, '', 'Retry-After': 'Wed, 25 Nov 2026 08:00:00 GMT')
        .answer(503, '', 'Retry-After': 'soon')
      expect(Array.new(3) { error(run)['retry_after'] }).to eq(['17', 'Wed, 25 Nov 2026 08:00:00 GMT', nil])
    end

    it 'is kept with the error, without secrets and no more than its beginning' do
      service.answer(422, "\xff#{'x' * 5000}")
      address = service.url.sub('//', '//user:pass@')
      fields = error(run(->(*) { post("#{address}/orders", {}, params: { token: 'secret' }) }))
      expect(fields['message']).to eq("POST #{service.url}/orders answered 422 Reason")
      context = JSON.parse(fields['context'])
      expect(context).to include('status' => 422, 'method' => 'post', 'url' => "#{service.url}/orders")
      expect(context['body']).to eq("\uFFFD#{'x' * 2047}")
      expect(fields.to_s).not_to match(/secret|user:pass/)
    end

    it 'means what the class says' do
      own = Class.new(StandardError)
      [409, 404, 500, 423].each { |status| service.answer(status, 'text', 'Retry-After': '3') }
      settings = proc { statuses(409 => :retryable, 404 => :ok, 500 => :permanent, 420..424 => own) }
      expect(error(run(&settings))).to include('retryable' => true, 'retry_after' => '3')
      expect(result(run(&settings))).to eq('text')
      expect(error(run(&settings))).to include('class' => 'TaskerCore::Errors::PermanentError', 'code' => 'HTTP_500')
      expect(error(run(&settings))).to include('message' => /answered 423/, 'class' => own.inspect)
    end

    it 'that is no JSON although it says so may be better the next time' do
      service.answer(200, '{"cut', 'Content-Type': 'application/json')
      expect(error(run)).to include('retryable' => true, 'code' => 'HTTP_BODY', 'message' => /cannot be read/)
    end
  end

  describe 'no answer' do
    it 'is a time-out after the time' do
      service.answer(:silent)
      fields = error(run { timeout(0.05) })
      expect(fields).to include('class' => 'TaskerCore::Errors::TimeoutError', 'retryable' => true,
                                'code' => 'HTTP_TIMEOUT')
      expect(fields['message']).to eq("GET #{service.url}/stock had no answer after 0.05 s")
      expect(service.requests.size).to eq(1)
    end

    it 'is a failure of the network when the connection breaks' do
      service.answer(nil).answer(nil)
      expect(error(run(->(*) { post('orders', {}) }))).to include('class' => 'TaskerCore::Errors::NetworkError',
                                                                  'retryable' => true, 'code' => 'HTTP_NO_ANSWER')
    end

    it 'is a failure of the network when nobody listens' do
      closed = TCPServer.new('127.0.0.1', 0)
      address = "http://127.0.0.1:#{closed.addr[1]}"
      closed.close
      expect(error(run(inputs: { base_url: address }))).to include('class' => 'TaskerCore::Errors::NetworkError',
                                                                   'message' => /refused/i)
    end
  end

  describe 'a mistake in the class' do
    it 'is a base URL that is missing' do
      lost = Class.new(TaskerCore::StepHandler::Api) { define_method(:process) { |*| get('stock') } }
      expect(error(run_step(lost))).to include('class' => 'TaskerCore::Errors::ConfigurationError',
                                               'message' => /no base_url/)
    end

    it 'is refused when it loads' do
      expect { handler { auth(:digest, 'x') } }.to raise_error(TaskerCore::ConfigurationError, /:bearer, TOKEN/)
      expect { handler { statuses(404 => :fine) } }.to raise_error(TaskerCore::ConfigurationError, /:fine/)
    end
  end

  it 'says what is missing without Faraday, which nothing else needs' do
    lib = File.expand_path('../lib', __dir__)
    script = <<~RUBY
      require 'tasker_core'
      puts defined?(Faraday).inspect
      handler = Class.new(TaskerCore::StepHandler::Api) { def require(name) = name == 'faraday' ? raise(LoadError) : super }
      begin
        handler.new.connection
      rescue TaskerCore::ConfigurationError => e
        puts e.message
      end
    RUBY
    output = IO.popen([RbConfig.ruby, '-I', lib, '-e', script], err: %i[child out], &:read)
    expect(output.lines.first.chomp).to eq('nil')
    expect(output.lines.last).to include('needs the gem faraday (Debian: ruby-faraday)')
  end
end
